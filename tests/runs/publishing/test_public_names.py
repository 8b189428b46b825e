import pytest

from kdfeatures.runs.publishing.provenance import is_local, public, public_name


@pytest.mark.parametrize("path", ["/home/me/teacher", "~/teacher", "./teacher", "../runs/teacher", "a/b/teacher"])
def test_a_path_is_known_by_its_last_part(path):
    assert is_local(path)
    assert public_name(path) == "teacher"


@pytest.mark.parametrize("name", ["bert-base-uncased", "org/teacher"])
def test_an_id_of_the_hub_stays_unless_a_folder_has_its_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert not is_local(name) and public_name(name) == name
    (tmp_path / name).mkdir(parents=True)
    assert is_local(name) and public_name(name) == name.split("/")[-1]


def test_the_working_folder_has_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert public_name(".") == tmp_path.name


def test_every_path_in_results_becomes_a_name_and_nothing_else_changes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "teacher").mkdir(parents=True)
    results = {
        "teacher": {"path": "runs/teacher", "layers": 4},
        "teachers": [{"path": "/home/My Name/b"}, {"path": "org/teacher"}],
        "config": {
            "output_dir": str(tmp_path / "out"),
            "labels": ["yes/no", "/", "a / b"],
            "data": ("../x/glue", None),
        },
    }
    assert public(results) == {
        "teacher": {"path": "teacher", "layers": 4},
        "teachers": [{"path": "b"}, {"path": "org/teacher"}],
        "config": {"output_dir": "out", "labels": ["yes/no", "", "a / b"], "data": ["glue", None]},
    }


def test_with_the_ids_that_were_known_when_it_was_made_a_path_that_is_gone_is_no_id():
    results = {"teacher": {"path": "runs/teacher"}, "model": {"path": "org/teacher"}, "output_dir": "students/one"}
    kept = {"teacher": {"path": "teacher"}, "model": {"path": "org/teacher"}, "output_dir": "one"}
    assert public(results, ["org/teacher"]) == kept
    assert public(results)["teacher"] == {"path": "runs/teacher"}
