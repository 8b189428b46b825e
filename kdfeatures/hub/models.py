"""Files of a model on the Hub: those in the local cache if they are all there, else fetched to it.

A model without a revision is taken as it is in the cache, without a request: what `main` was when it was fetched. Who
names a branch or a tag asks the Hub what it is now, and who names a commit asks only for files that are not there.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import HfApi, constants, get_cached_repo_tree, snapshot_download
from huggingface_hub.errors import (
    CachedRepoTreeNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    RevisionResolutionError,
)
from huggingface_hub.utils import validate_repo_id

from kdfeatures.errors import ConfigError, UserError, first_line
from kdfeatures.hub.reach import hub_answers, silence

logger = logging.getLogger(__name__)

SEPARATOR = "@"  # of a model's name and its revision; no name on the Hub has one
COMMIT = re.compile(r"[0-9a-f]{40}")


class FileChoice(NamedTuple):
    """Files of a model's repository, as patterns of their names. needed: the part is useless without any of these."""

    allowed: tuple[str, ...]
    ignored: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()


CONFIG = FileChoice(("config.json", "adapter_config.json"), needed=("config.json", "adapter_config.json"))
# config, tokenizer, card, and the modules of sentence-transformers; not the copies of other formats, in their folders
SMALL = FileChoice(
    ("*.json", "*.txt", "*.model", "*.codes", "README.md"),
    ("*/tokenizer*", "*/vocab*", "*/*.txt", "*/*.model", "checkpoint-*", "runs/*", "*.index.json"),
    CONFIG.needed,
)
SAFETENSORS = ("model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json")
BIN = ("pytorch_model.bin", "pytorch_model-*-of-*.bin", "pytorch_model.bin.index.json")
CARD = FileChoice(("README.md",), needed=("README.md",))

_commits: dict[tuple[str, str, str, str | None], str] = {}  # one a process, also when a branch moves meanwhile
# names and revisions that the cache told, and why the Hub did not
_unasked: dict[tuple[str, str | None], str | None] = {}


def with_revision(path: str, revision: str | None, option: str) -> str:
    """Return a model's path with its revision, as all that loads models takes it: ORG/NAME@REVISION.

    option: how the user named the path, such as "teacher.path". Raises UserError for a revision of a folder, and for a
    second one.
    """
    if revision is None:
        return path
    named = f"{option.removesuffix('path')}revision={revision}"
    if Path(path).exists():
        raise UserError(f"{named} is of a model on the Hub, but {option}={path} is a folder; leave one of them out.")
    if SEPARATOR in path:
        raise UserError(f"{named}: {option}={path} names a revision already; leave one of them out.")
    if not revision.strip():
        raise UserError(f"{named} is empty; name a branch, a tag or a commit, or leave it out.")
    return f"{path}{SEPARATOR}{revision}"


def check_revision(path: str | None, revision: str | None, section: str) -> None:
    """Raise ConfigError for a revision of no model. section: of a config, that both belong to."""
    if path is None and revision is not None:
        raise ConfigError(
            "has no effect without a path", argument="revision", value=revision, hint="leave it out", section=section
        )


def commit_of(path: str) -> str | None:
    """Return the commit that this process read a model at; None for a folder, and for what it has not asked for."""
    name, _, revision = path.partition(SEPARATOR)
    return _commits.get(_key(name, revision or None))


def without_revision(path: str) -> str:
    """Return ORG/NAME of ORG/NAME@REVISION; a folder's path as it is."""
    return path if Path(path).exists() else path.partition(SEPARATOR)[0]


def config_folder(path: str, option: str) -> Path:
    """Return the folder of the local cache with the config of a model; see `model_folder`."""
    return _folder(path, option, CONFIG)


def small_files_folder(path: str, option: str) -> Path:
    """Return the folder of the local cache with all of a model but its weights; see `model_folder`."""
    return _folder(path, option, SMALL)


def model_folder(path: str, option: str) -> Path:
    """Return the folder of the local cache with a model's config and weights, in safetensors if it has such.

    path: ORG/NAME, or ORG/NAME@REVISION. option: how the user asked for it, such as "teacher.path". Raises UserError
    for a name or a revision that the Hub has not, and at once for what the cache lacks while the Hub does not answer.
    """
    folder = _folder(path, option, FileChoice(CONFIG.allowed + SAFETENSORS))
    if not _holds(folder, SAFETENSORS):
        folder = _folder(path, option, FileChoice(CONFIG.allowed + BIN, needed=BIN))
    _say_cached(path, option, folder.name)
    return folder


def cached_card(path: str) -> str | None:
    """Return the README.md of a model in the local cache, if it is there; nothing is asked."""
    name, _, revision = path.partition(SEPARATOR)
    try:
        commit = _cached_commit(name, revision or None)
    except HFValidationError:
        return None
    file = None if commit is None else _snapshot(name, commit) / "README.md"
    return file.read_text(encoding="utf-8", errors="replace") if file is not None and file.is_file() else None


def _folder(path: str, option: str, part: FileChoice) -> Path:
    name, _, revision = path.partition(SEPARATOR)
    commit = _commit(name, revision or None, f"{option}={path}")
    whole = _in_cache(name, commit, part)
    if whole:
        return _snapshot(name, commit)
    if hub_answers():
        return _fetched(name, commit, part, f"{option}={path}")
    if whole is None or _holds(_snapshot(name, commit), part.needed):  # without some that the run may do without
        return _snapshot(name, commit)
    raise UserError(_unreachable(name, f"{option}={path}"))


def _say_cached(path: str, option: str, commit: str) -> None:
    """Say once, when weights are loaded, that a branch may be a newer commit by now."""
    name, _, revision = path.partition(SEPARATOR)
    if (name, revision or None) not in _unasked:
        return
    reason = _unasked.pop((name, revision or None))
    why = "" if reason is None else f", for {reason}"
    newest = "" if revision else f"; {option.removesuffix('path')}revision=main takes the newest of the Hub"
    logger.info(f"{path}: read from the local cache as it is there, commit {commit[:7]}{why}{newest}.")


def _commit(name: str, revision: str | None, named: str) -> str:
    """Return the commit that a revision is, of None that of `main` in the cache, and else on the Hub."""
    key = _key(name, revision)
    if key not in _commits:
        _commits[key] = _first_commit(name, revision, named)
    return _commits[key]


def _key(name: str, revision: str | None) -> tuple[str, str, str, str | None]:
    return constants.ENDPOINT, constants.HF_HUB_CACHE, name, revision


def _first_commit(name: str, revision: str | None, named: str) -> str:
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise UserError(f"{named}: no such folder, and no model on the Hub can have this name.") from error
    if revision is not None and COMMIT.fullmatch(revision):
        return revision
    cached = _cached_commit(name, revision)
    if revision is None and cached is not None and _holds(_snapshot(name, cached), (*SAFETENSORS, *BIN)):
        _unasked[name, revision] = None
        return cached
    if not hub_answers():
        if cached is not None and _holds(_snapshot(name, cached), CONFIG.needed):
            _unasked[name, revision] = silence()
            return cached
        raise UserError(_unreachable(name, named))
    try:
        return HfApi().resolve_revision(name, revision=revision).resolved
    except GatedRepoError as error:
        raise UserError(
            f"{named} is a gated model; accept its terms at {constants.ENDPOINT}/{name}, and log in with "
            "`hf auth login`."
        ) from error
    except RepositoryNotFoundError as error:
        raise UserError(
            f"{named}: no such folder, and the Hub at {constants.ENDPOINT} has no model '{name}' that you may read; "
            "check the name, or log in with `hf auth login` for a private one."
        ) from error
    except RevisionNotFoundError as error:
        raise UserError(
            f"{named}: the model '{name}' on the Hub at {constants.ENDPOINT} has no branch, tag or commit "
            f"'{revision}'; leave it out to take its newest one."
        ) from error
    except (HfHubHTTPError, RevisionResolutionError, OSError, ValueError) as error:
        raise UserError(f"{named}: the Hub at {constants.ENDPOINT} does not tell: {first_line(error)}") from error


def _fetched(name: str, commit: str, part: FileChoice, named: str) -> Path:
    try:
        folder = snapshot_download(
            name, revision=commit, allow_patterns=list(part.allowed), ignore_patterns=list(part.ignored)
        )
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise UserError(
            f"{named}: its files did not come from the Hub at {constants.ENDPOINT}: {first_line(error)}"
        ) from error
    return Path(folder)


def _in_cache(name: str, commit: str, part: FileChoice) -> bool | None:
    """Return whether the cache has all files of a part; None where it has some, and the list of all was not kept.

    Other programs keep the files that they ask for alone.
    """
    try:
        folder = snapshot_download(
            name,
            revision=commit,
            allow_patterns=list(part.allowed),
            ignore_patterns=list(part.ignored),
            local_files_only=True,
        )
    except LocalEntryNotFoundError:
        return False
    try:
        get_cached_repo_tree(name, revision=commit)
    except CachedRepoTreeNotFoundError:
        return None if _holds(Path(folder), part.needed or part.allowed) else False
    return True


def _cached_commit(name: str, revision: str | None) -> str | None:
    try:
        return HfApi().resolve_revision(name, revision=revision, local_files_only=True).resolved
    except (RevisionResolutionError, OSError):
        return None


def _snapshot(name: str, commit: str) -> Path:
    return Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}" / "snapshots" / commit


def _holds(folder: Path, patterns: tuple[str, ...]) -> bool:
    return any(True for pattern in patterns for _ in folder.glob(pattern))


def _unreachable(name: str, named: str) -> str:
    if constants.HF_HUB_OFFLINE:
        return (
            f"{named}: no such folder, and the model '{name}' is not in the local cache while HF_HUB_OFFLINE=1; give a "
            "local folder, or unset HF_HUB_OFFLINE."
        )
    return f"{named}: no such folder, not whole in the local cache, and {silence()}; give a local folder."
