"""The 11 files of a GLUE submission, as the server's FAQ (gluebenchmark.com/faq) asks for them."""

from __future__ import annotations

from typing import NamedTuple

from kdfeatures.errors import UserError

HEADER = "index\tprediction"
LOWEST, HIGHEST = 0.0, 5.0  # scores of STS-B
IDS = ("0", "1")
ENTAILMENT = ("entailment", "not_entailment")
NLI = ("entailment", "neutral", "contradiction")


class SubmissionFile(NamedTuple):
    """One file of the zip.

    name: without its ending. task, split: of conf/task, what it answers. answers: what it may say, in the order of the
    task's class ids; none for scores from 0 to 5. rows: examples in the split, a line each below the header.
    """

    name: str
    task: str
    split: str
    answers: tuple[str, ...]
    rows: int

    @property
    def member(self) -> str:
        """Its exact name in the zip."""
        return f"{self.name}.tsv"

    @property
    def trained_on(self) -> str:
        """The task whose model answers it: the diagnostic set has no training examples."""
        return "mnli" if self.task == "ax" else self.task

    @property
    def fill(self) -> list[str]:
        """Valid answers that claim nothing: the first class for all, and for scores the two ends in turn.

        Of one and the same score for all the correlation would be undefined.
        """
        values = self.answers[:1] or (f"{LOWEST:.1f}", f"{HIGHEST:.1f}")
        return [values[row % len(values)] for row in range(self.rows)]


FILES = (
    SubmissionFile("CoLA", "cola", "test", IDS, 1063),
    SubmissionFile("SST-2", "sst2", "test", IDS, 1821),
    SubmissionFile("MRPC", "mrpc", "test", IDS, 1725),
    SubmissionFile("STS-B", "stsb", "test", (), 1379),
    SubmissionFile("QQP", "qqp", "test", IDS, 390965),
    SubmissionFile("MNLI-m", "mnli", "test", NLI, 9796),
    SubmissionFile("MNLI-mm", "mnli", "test_extra", NLI, 9847),
    SubmissionFile("QNLI", "qnli", "test", ENTAILMENT, 5463),
    SubmissionFile("RTE", "rte", "test", ENTAILMENT, 3000),
    SubmissionFile("WNLI", "wnli", "test", IDS, 146),
    SubmissionFile("AX", "ax", "test", NLI, 1104),
)


def file_of(task: str, split: str) -> SubmissionFile:
    """Return the file that answers a split; raises UserError where there is none."""
    for file in FILES:
        if (file.task, file.split) == (task, split):
            return file
    known = ", ".join(f"{file.task} {file.split}" for file in FILES)
    raise UserError(f"no file of a GLUE submission answers {task} {split}; they answer {known}.")


def check_rows(file: SubmissionFile, found: int) -> None:
    """Raise UserError when there are not as many answers as the server wants."""
    if found != file.rows:
        raise UserError(
            f"{file.member} needs {file.rows} rows, but {found} were found; answer the whole {file.split} split of "
            f"{file.task}."
        )
