"""The zip of predictions that the GLUE server takes: what it must hold, writing one, checking any."""

from kdfeatures.benchmark.submission.check import Checked, check_submission, checked, told
from kdfeatures.benchmark.submission.files import FILES, SubmissionFile, file_of
from kdfeatures.benchmark.submission.write import answers, write_submission

__all__ = [
    "FILES",
    "Checked",
    "SubmissionFile",
    "answers",
    "check_submission",
    "checked",
    "file_of",
    "told",
    "write_submission",
]
