"""Turn logits into what the GLUE server wants, and write the zip."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from kdfeatures.benchmark.submission.check import checked, row_problems
from kdfeatures.benchmark.submission.files import FILES, HEADER, HIGHEST, LOWEST, check_rows, file_of
from kdfeatures.config.paths import check_folder
from kdfeatures.errors import UserError, nearest
from kdfeatures.files import unfinished
from kdfeatures.tasks.task import Task

DATE = (1980, 1, 1, 0, 0, 0)  # of every file in the zip, so that equal answers give equal bytes


def answers(task: Task, split: str, logits: np.ndarray) -> list[str]:
    """Return an answer for each example of a split, as its file in the zip has them.

    logits: (examples, C) in the task's label order, C = 1 for scores. Classes become 0 and 1, or their names for MNLI,
    AX, QNLI and RTE; scores (STS-B) are clipped to 0..5. Raises UserError for a split that no file answers, another
    number of classes, and logits that are not finite, whose largest means nothing.
    """
    file = file_of(task.name, split)
    wanted = len(file.answers) or 1
    if logits.ndim != 2 or logits.shape[1] != wanted:
        raise UserError(f"{file.member} needs logits of {wanted} classes, but their shape is {logits.shape}.")
    broken = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if broken.size:
        raise UserError(
            f"{file.member}: the logits of {broken.size} of {len(logits)} examples are not finite, the first of row "
            f"{broken[0]}; the model has diverged."
        )
    predictions = task.predictions_from_logits(logits)
    if not file.answers:
        return [f"{score:.6f}" for score in np.clip(predictions, LOWEST, HIGHEST)]
    return [file.answers[label] for label in predictions]


def write_submission(
    file: Path, answers_by_file: Mapping[str, Sequence[str]], *, sample: Path | None = None, overwrite: bool = False
) -> list[str]:
    """Write the zip with all 11 files, and return the names of those that were filled, as no answers were given.

    answers_by_file: by a file's name without its ending, such as MNLI-m. The server scores no zip that lacks a file.
    Who has answers for some takes the others from its sample submission (gluebenchmark.com/assets/CBOW.zip, what its
    bag-of-words baseline predicts), which is what `sample` does with a local copy. Without one, a missing file says the
    first class for every example, STS-B 0 and 5 in turn. Either way its score, and the average, are not the models'.

    The zip appears whole or not at all, and equal answers give equal bytes. Raises UserError for an unknown name, a
    wrong number of rows, an answer that the file does not take, a sample whose files are not valid, and a `file` that
    exists, unless `overwrite`.
    """
    check_target(file, overwrite=overwrite)
    names = [part.name for part in FILES]
    for name in answers_by_file:
        if name not in names:
            raise UserError(f"a submission has no file '{name}'{nearest(name, names)} (it has {', '.join(names)}).")
    filled = [name for name in names if name not in answers_by_file]
    of_sample = {} if sample is None else from_sample(sample, filled)
    texts = {}
    for part in FILES:
        if part.name in filled:
            texts[part.member] = of_sample.get(part.name) or _text(part.fill)
            continue
        given = answers_by_file[part.name]
        check_rows(part, len(given))
        problems = row_problems(part, [f"{index}\t{answer}" for index, answer in enumerate(given)])
        if problems:
            raise UserError(f"{part.member}: {problems[0]}.")
        texts[part.member] = _text(given)
    _write(file, texts)
    return filled


def check_target(file: Path, *, overwrite: bool) -> None:
    """Raise UserError when `file` is there and may not be overwritten, or can be no file."""
    if file.is_dir():
        raise UserError(f"the submission {file} is a folder; name a file, such as {file / 'submission.zip'}.")
    if file.exists() and not overwrite:
        raise UserError(f"the submission {file} exists; remove it, or choose another name.")
    check_folder(file.parent, f"the submission {file}")


def from_sample(sample: Path, names: Iterable[str]) -> dict[str, bytes]:
    """Return the content of those files of a zip, by name; raises UserError for one that is not valid."""
    checks = checked(sample)
    taken = {}
    for name in names:
        problems = checks.problems.get(name) or (checks.problems[""] if checks.rows[name] is None else [])
        if problems:
            raise UserError(f"{sample} cannot fill in {name}.tsv: {problems[0]}; take the server's own CBOW.zip.")
        with zipfile.ZipFile(sample) as opened:
            taken[name] = opened.read(f"{name}.tsv")
    return taken


def _text(given: Sequence[str]) -> bytes:
    lines = [HEADER, *(f"{index}\t{answer}" for index, answer in enumerate(given))]
    return ("\n".join(lines) + "\n").encode()


def _write(file: Path, texts: Mapping[str, bytes]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with unfinished(file) as path, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, text in texts.items():
            entry = zipfile.ZipInfo(member, DATE)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, text)
