import pytest
from support.shared_data import glue_folder, glue_task

from kdfeatures.benchmark.submission import FILES, file_of
from kdfeatures.data.load import load_task, split_of
from kdfeatures.errors import MissingSplit, UserError

# lines with the header, as the sets of the server have them
LINES = {
    "AX.tsv": 1105,
    "CoLA.tsv": 1064,
    "MNLI-m.tsv": 9797,
    "MNLI-mm.tsv": 9848,
    "MRPC.tsv": 1726,
    "QNLI.tsv": 5464,
    "QQP.tsv": 390966,
    "RTE.tsv": 3001,
    "SST-2.tsv": 1822,
    "STS-B.tsv": 1380,
    "WNLI.tsv": 147,
}
NAMED = {"AX.tsv", "MNLI-m.tsv", "MNLI-mm.tsv", "QNLI.tsv", "RTE.tsv"}


def test_names_and_line_counts_are_the_published_ones():
    assert {file.member: file.rows + 1 for file in FILES} == LINES


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_answers_stand_in_the_order_of_the_tasks_classes(file):
    task = glue_task(file.task)
    assert file.split in task.splits
    if file.member in NAMED:
        assert file.answers == task.labels
    else:
        assert file.answers == tuple(str(index) for index in range(len(task.labels)))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_real_test_splits_have_the_published_number_of_examples(file):
    try:
        raw = load_task(glue_task(file.task), str(glue_folder()))
        examples = split_of(raw, glue_task(file.task), file.split)
    except MissingSplit as error:
        pytest.skip(str(error))
    assert len(examples) == file.rows


def test_the_diagnostic_set_is_answered_by_the_model_for_mnli():
    assert file_of("ax", "test").trained_on == file_of("mnli", "test_extra").trained_on == "mnli"
    assert all(file.trained_on == file.task for file in FILES if file.task != "ax")


def test_a_split_without_a_file_is_named():
    with pytest.raises(UserError, match="no file of a GLUE submission answers cola validation; they answer cola test"):
        file_of("cola", "validation")
