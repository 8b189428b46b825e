import zipfile

import pytest

from kdfeatures.benchmark.submission import write_submission
from kdfeatures.cli.main import main


def test_a_valid_zip_is_told_and_nothing_is_written(tmp_path, monkeypatch, capsys):
    write_submission(tmp_path / "made.zip", {})
    monkeypatch.chdir(tmp_path)
    main(["submission", "made.zip"])
    out = capsys.readouterr().out
    assert "| QQP.tsv     | 390965 | 390965 |    ok |" in out
    assert "made.zip is what the GLUE server takes." in out
    assert [path.name for path in tmp_path.iterdir()] == ["made.zip"]


def test_every_problem_of_an_invalid_zip_is_told_and_the_status_is_2(tmp_path, capsys):
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as made:
        made.writestr("WNLI.tsv", "index\tprediction\n0\tyes\n")
        made.writestr("notes.txt", "")
    with pytest.raises(SystemExit, match="2"):
        main(["submission", f"file={tmp_path / 'bad.zip'}"])
    out, err = capsys.readouterr()
    assert "| WNLI.tsv    |    1 |    146 | has 1 rows, not 146 |" in out
    for told in (
        "'notes.txt' is no file of a submission",
        "CoLA.tsv: is missing",
        "WNLI.tsv: has 1 rows, not 146",
        "WNLI.tsv: row 0 answers something else than one of 0, 1: 'yes'",
    ):
        assert f"\n{told}\n" in out + "\n"
    assert err.startswith("kdfeatures: error: the GLUE server would refuse ") and err.count("\n") == 1
    assert "13 problems, the first: 'notes.txt' is no file" in err


@pytest.mark.parametrize("name", ["it's.zip", "a${b}.zip", "a b=c,(d).zip", r"back\slash.zip", r"a\'b.zip", "trail\\"])
def test_a_file_may_have_any_name(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text("no zip")
    with pytest.raises(SystemExit, match="2"):
        main(["submission", name])
    assert f"would refuse {name}: {name} is not a zip file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["gone.zip"], "gone.zip is no file; name the zip to check"),
        ([], "nothing to check: say which zip, kdfeatures submission FILE"),
    ],
)
def test_without_a_zip_there_is_one_line(arguments, told, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["submission", *arguments])
    assert told in capsys.readouterr().err
