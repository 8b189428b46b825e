"""Ask whether the Hugging Face Hub can be reached before a library retries for half a minute."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from huggingface_hub import HfApi, constants, get_session, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils import validate_repo_id

from kdfeatures.errors import UserError

PROBE_SECONDS = 3.0
KNOWN_SECONDS = 60.0  # for so long nobody asks again

_answered: dict[str, tuple[float, bool]] = {}  # when, and whether, by endpoint


def require_upload(repository: str, option: str) -> None:
    """Return when a repository of this name can be uploaded to, as far as can be known before; or raise UserError.

    option: how the user asked for it. Whether the token may write there, only the upload tells.
    """
    check_repository(repository, option)
    if constants.HF_HUB_OFFLINE:
        raise UserError(f"{option} needs the Hub, but HF_HUB_OFFLINE=1; unset it, or do not upload.")
    if get_token() is None:
        raise UserError(f"{option} needs a token of the Hub; run `hf auth login`, or set HF_TOKEN.")
    if not hub_answers():
        raise UserError(f"{option}: the Hub at {constants.ENDPOINT} does not answer, so nothing can be uploaded.")
    try:
        HfApi().whoami()
    except HfHubHTTPError as error:
        raise UserError(f"{option}: the Hub does not take the token; run `hf auth login`, or set HF_TOKEN.") from error


def silence() -> str:
    """Return a part of a sentence: why nothing comes from the Hub."""
    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE=1 forbids to ask the Hub"
    return f"the Hub at {constants.ENDPOINT} does not answer"


def check_repository(repository: str, option: str) -> None:
    """Raise UserError for a name that no repository can have."""
    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise UserError(f"{option}: no repository on the Hub can have this name; give ORGANISATION/NAME.") from error


@contextmanager
def offline_unless_hub_answers() -> Iterator[bool]:
    """Yield whether the Hub answers; if it does not, the block sees the local cache only, and at once.

    Left alone, `datasets.load_dataset` retries for 23 s before it looks there.
    """
    answers = hub_answers()
    with nullcontext() if answers else offline():
        yield answers


@contextmanager
def offline() -> Iterator[None]:
    """Let the block see the local cache only, as with HF_HUB_OFFLINE=1."""
    before = constants.HF_HUB_OFFLINE
    # read at every request, unlike the environment variable of the same name, which is read at import
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def hub_answers() -> bool:
    """Return whether the Hub answers within PROBE_SECONDS, or did lately; False where HF_HUB_OFFLINE=1."""
    if constants.HF_HUB_OFFLINE:
        return False
    when, answers = _answered.get(constants.ENDPOINT, (-KNOWN_SECONDS, False))
    if time.monotonic() - when < KNOWN_SECONDS:
        return answers
    try:
        get_session().head(constants.ENDPOINT, timeout=PROBE_SECONDS)
        answers = True
    except Exception:  # every HTTP client and proxy has its own errors; any of them means no
        answers = False
    _answered[constants.ENDPOINT] = time.monotonic(), answers
    return answers
