"""A model's folder: that it is there and whole, and one line for whatever else is wrong with it."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from huggingface_hub.errors import StrictDataclassError

from kdfeatures.errors import UserError, first_line
from kdfeatures.hub.models import config_folder, model_folder, small_files_folder, without_revision

LFS = b"version https://git-lfs"  # how the pointer begins that git keeps in place of a large file
ADAPTER = "adapter_config.json"


FROM_HUB = {"config": config_folder, "tokenizer": small_files_folder, "model": model_folder}


def folder_of(path: str, option: str, what: Literal["config", "tokenizer", "model"]) -> Path:
    """Return the folder with the config, also the tokenizer, or also the weights of a model: `path`, or in the cache.

    path: a folder, or ORG/NAME or ORG/NAME@REVISION on the Hub. Raises UserError unless the folder may hold a model,
    and for a model that neither the local cache nor the Hub has; see kdfeatures.hub.models.
    """
    folder = Path(path)
    if not folder.is_dir():
        name = without_revision(path)
        if folder.is_absolute() or path.startswith((".", "~")) or name.count("/") > 1:
            raise UserError(f"{option}={path}: no such folder.")
        folder = FROM_HUB[what](path, option)
    _check_folder(folder, f"{option}={path}")
    return folder


def _check_folder(folder: Path, named: str) -> None:
    if (folder / ADAPTER).is_file():
        raise UserError(
            f"{named} holds an adapter ({ADAPTER}) and not a whole model; merge it into its base model with peft's "
            "merge_and_unload() and save that with save_pretrained."
        )
    if not (folder / "config.json").is_file():
        raise UserError(f"{named} is a folder without config.json, so it holds no model.")
    for file in sorted(folder.iterdir()):
        if file.suffix in (".json", ".safetensors", ".bin", ".txt", ".model") and file.is_file():
            with file.open("rb") as stream:
                if stream.read(len(LFS)) == LFS:
                    raise UserError(
                        f"{named}: {file.name} is a pointer of git-lfs and not the file itself; fetch it with "
                        "`git lfs pull`."
                    )


@contextmanager
def loading(option: str, path: str, what: str) -> Iterator[None]:
    """Turn every error of the block, which loads `what` from another's folder, into a UserError of one line."""
    named = f"{option}={path} holds no {what} that can be loaded"
    try:
        yield
    except UserError:
        raise
    except ImportError as error:
        raise UserError(f"{named}: it needs a package that is not there. {first_line(error)}") from error
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{named}: its .bin file holds other things than weights, or is damaged, and is not run; save the weights "
            "with save_pretrained where it was made."
        ) from error
    except StrictDataclassError as error:
        raise UserError(f"{named}: {' '.join(str(error).split())}") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{named}: {first_line(error)}") from error
    except Exception as error:  # whatever a strange file makes a library stumble over
        raise UserError(f"{named}: {type(error).__name__}: {first_line(error)}") from error


def list_of(names: list[Any]) -> str:
    """Return the first of some names and how many more there are."""
    return f"{names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}"
