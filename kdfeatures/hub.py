"""Ask whether the Hugging Face Hub can be reached before a library retries for half a minute."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub import HfApi, constants, get_session, get_token, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils import validate_repo_id

from kdfeatures.errors import UserError

PROBE_SECONDS = 3.0


def require_model(name: str, option: str) -> None:
    """Return when the model `name` is in the local cache or the Hub answers; otherwise raise UserError at once.

    option: how the user asked for it, such as "teacher.path=org/name".
    """
    try:
        if isinstance(try_to_load_from_cache(name, "config.json"), str):
            return
    except HFValidationError as error:
        raise UserError(f"{option}: no such folder, and no model on the Hub can have this name.") from error
    if constants.HF_HUB_OFFLINE:
        raise UserError(
            f"{option}: no such folder, and the model '{name}' is not in the local cache while HF_HUB_OFFLINE=1; "
            "give a local folder, or unset HF_HUB_OFFLINE."
        )
    if not _hub_answers():
        raise UserError(
            f"{option}: no such folder, and the Hub at {constants.ENDPOINT} does not answer; give a local folder."
        )


def require_upload(repository: str, option: str) -> None:
    """Return when a repository of this name can be uploaded to, as far as can be known before; or raise UserError.

    option: how the user asked for it. Whether the token may write there, only the upload tells.
    """
    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise UserError(f"{option}: no repository on the Hub can have this name; give ORGANISATION/NAME.") from error
    if constants.HF_HUB_OFFLINE:
        raise UserError(f"{option} needs the Hub, but HF_HUB_OFFLINE=1; unset it, or leave out push_to_hub.")
    if get_token() is None:
        raise UserError(f"{option} needs a token of the Hub; run `hf auth login`, or set HF_TOKEN.")
    if not _hub_answers():
        raise UserError(f"{option}: the Hub at {constants.ENDPOINT} does not answer; leave out push_to_hub.")
    try:
        HfApi().whoami()
    except HfHubHTTPError as error:
        raise UserError(f"{option}: the Hub does not take the token; run `hf auth login`, or set HF_TOKEN.") from error


@contextmanager
def offline_unless_hub_answers() -> Iterator[bool]:
    """Yield whether the Hub answers; if it does not, the block sees the local cache only, and at once.

    Left alone, `datasets.load_dataset` retries for 23 s before it looks there.
    """
    before = constants.HF_HUB_OFFLINE
    answers = not before and _hub_answers()
    # read at every request, unlike the environment variable of the same name, which is read at import
    constants.HF_HUB_OFFLINE = not answers
    try:
        yield answers
    finally:
        constants.HF_HUB_OFFLINE = before


def _hub_answers() -> bool:
    try:
        get_session().head(constants.ENDPOINT, timeout=PROBE_SECONDS)
    except Exception:  # every HTTP client and proxy has its own errors; any of them means no
        return False
    return True
