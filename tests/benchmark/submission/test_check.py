import zipfile

import pytest

from kdfeatures.benchmark.submission import FILES, check_submission, checked, write_submission
from kdfeatures.errors import UserError


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    file = tmp_path_factory.mktemp("whole") / "whole.zip"
    write_submission(file, {})
    with zipfile.ZipFile(file) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


@pytest.fixture
def problems(whole, tmp_path):
    """What is wrong with the zip when `changed` replaces, adds or (None) removes files of a valid one."""

    def of(changed, twice=()):
        with zipfile.ZipFile(tmp_path / "made.zip", "w") as made:
            for name, text in {**whole, **changed}.items():
                if text is not None:
                    made.writestr(name, text)
            for name in twice:
                made.writestr(name, whole[name])
        return check_submission(tmp_path / "made.zip")

    return of


def rows_of(whole, name):
    return whole[name].decode().split("\n")


def test_a_whole_zip_has_no_problem(problems):
    assert problems({}) == []


def test_every_broken_line_is_told_and_counted_once(problems, whole):
    cola, mrpc, rte, stsb = (rows_of(whole, f"{name}.tsv") for name in ("CoLA", "MRPC", "RTE", "STS-B"))
    cola[3], cola[5] = "2\tyes", "4\tmaybe"  # line 1 is row 0
    mrpc[1], mrpc[2] = mrpc[2], mrpc[1]
    rte[7] = "6"
    stsb[1:6] = ["0\tnan", "1\tinf", "2\t-0.1", "3\t5.01", "4\t1_0"]
    changed = {"CoLA.tsv": cola, "MRPC.tsv": mrpc, "RTE.tsv": rte, "STS-B.tsv": stsb}
    assert problems({name: "\n".join(lines) for name, lines in changed.items()}) == [
        "CoLA.tsv: row 2 answers something else than one of 0, 1: 'yes' (2 rows do)",
        "MRPC.tsv: row 0 has an index out of place: '1' instead of 0 (2 rows do)",
        "STS-B.tsv: row 0 answers something else than a number from 0 to 5: 'nan' (5 rows do)",
        "RTE.tsv: row 6 is not an index, a tab and a prediction: '6'",
    ]


def test_numbers_and_names_are_not_exchanged(problems, whole):
    swapped = problems({"WNLI.tsv": whole["WNLI.tsv"].replace(b"\t0\n", b"\tnot_entailment\n")})
    assert swapped == ["WNLI.tsv: row 0 answers something else than one of 0, 1: 'not_entailment' (146 rows do)"]
    swapped = problems({"AX.tsv": whole["AX.tsv"].replace(b"\tentailment\n", b"\t0\n")})
    assert swapped == [
        "AX.tsv: row 0 answers something else than one of entailment, neutral, contradiction: '0' (1104 rows do)"
    ]


def test_wrong_encodings_line_ends_headers_and_counts_are_told(problems, whole):
    wnli = whole["WNLI.tsv"]
    found = problems(
        {
            "WNLI.tsv": wnli.replace(b"\n", b"\r\n"),
            "AX.tsv": b"\xef\xbb\xbf" + whole["AX.tsv"],
            "CoLA.tsv": whole["CoLA.tsv"].replace(b"\t0\n", b"\t\xe9\n", 1),
            "MRPC.tsv": whole["MRPC.tsv"].replace(b"index\tprediction", b"id,label"),
            "SST-2.tsv": whole["SST-2.tsv"].removeprefix(b"index\tprediction\n"),
            "RTE.tsv": whole["RTE.tsv"] + b"3000\tentailment\n",
            "STS-B.tsv": b"",
        }
    )
    assert found == [
        "CoLA.tsv: is not UTF-8: byte 0xe9 at 19",
        "SST-2.tsv: begins with '0\\t0', not with the header 'index\\tprediction'",
        "MRPC.tsv: begins with 'id,label', not with the header 'index\\tprediction'",
        "STS-B.tsv: begins with '', not with the header 'index\\tprediction'",
        "STS-B.tsv: has 0 rows, not 1379",
        "RTE.tsv: has 3001 rows, not 3000",
        "WNLI.tsv: has the line ends of Windows (CRLF) or old Macs (CR), not LF",
        "AX.tsv: begins with a byte order mark",
    ]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_files_that_are_missing_unknown_nested_or_twice_are_told(problems, whole):
    changed = {"WNLI.tsv": None, "Wnli.tsv": "", "AX.tsv": None, "made/AX.tsv": whole["AX.tsv"], "notes/": ""}
    assert problems(changed, twice=["RTE.tsv"]) == [
        "'Wnli.tsv' is no file of a submission; did you mean 'WNLI.tsv'?",
        "'notes/' is a folder; zip the files without one",
        "RTE.tsv: is there 2 times",
        "WNLI.tsv: is missing",
        "AX.tsv: lies in a folder, 'made/AX.tsv'; zip the files without it",
    ]


def test_a_last_line_without_its_end_is_fine(problems, whole):
    assert problems({"WNLI.tsv": whole["WNLI.tsv"].removesuffix(b"\n")}) == []


def test_rows_are_counted_also_where_they_are_wrong(whole, tmp_path):
    with zipfile.ZipFile(tmp_path / "made.zip", "w") as made:
        made.writestr("WNLI.tsv", "index\tprediction\n0\t1\n")
    assert checked(tmp_path / "made.zip").rows == {one.name: 1 if one.name == "WNLI" else None for one in FILES}


def test_what_is_no_zip_or_no_file_is_told(tmp_path):
    (tmp_path / "text.zip").write_text("no zip")
    (problem, *missing) = check_submission(tmp_path / "text.zip")
    assert problem.endswith("text.zip is not a zip file: File is not a zip file") and missing == []
    with pytest.raises(UserError, match=r"gone.zip is no file; name the zip to check"):
        check_submission(tmp_path / "gone.zip")


def test_a_damaged_file_is_told(whole, tmp_path):
    file = tmp_path / "made.zip"
    with zipfile.ZipFile(file, "w") as made:  # stored, so that its bytes can be found
        made.writestr("WNLI.tsv", whole["WNLI.tsv"])
    file.write_bytes(file.read_bytes().replace(b"100\t0", b"100\t1"))
    assert "WNLI.tsv: cannot be read: Bad CRC-32 for file 'WNLI.tsv'" in check_submission(file)


def test_a_file_that_would_fill_the_memory_is_not_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "made.zip", "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("WNLI.tsv", bytes(65 * 2**20))
    assert "WNLI.tsv: has 68157440 bytes, which no answers to 146 examples have" in check_submission(
        tmp_path / "made.zip"
    )


def test_a_file_that_is_damaged_and_was_compressed_in_another_way_is_told(whole, tmp_path):
    file = tmp_path / "lzma.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_LZMA) as made:
        for name, text in whole.items():
            made.writestr(name, text)
        start = made.getinfo("WNLI.tsv").header_offset
    content = bytearray(file.read_bytes())
    for at in range(start + 50, start + 80):
        content[at] ^= 0xFF
    file.write_bytes(content)
    assert any(problem.startswith("WNLI.tsv: cannot be read: ") for problem in check_submission(file))
