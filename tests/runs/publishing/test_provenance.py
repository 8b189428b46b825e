from kdfeatures.runs.publishing.provenance import base_models, hub_ids
from kdfeatures.runs.results import write_results


def test_the_models_of_the_hub_are_found_through_the_runs_that_led_here(tmp_path):
    teacher = tmp_path / "teacher"
    teacher.mkdir()
    config = {"student": {"path": None}, "teacher": {"path": str(teacher)}}
    assert base_models(config) == []
    write_results(teacher, {"base_models": base_models({"model": {"path": "org/encoder"}})})
    assert base_models(config) == ["org/encoder"]
    others = {"b": {"path": "org/other"}, "c": {"path": "org/encoder"}}
    assert base_models(config | {"student": {"path": "tiny"}, "teachers": others}) == [
        "tiny",
        "org/encoder",
        "org/other",
    ]


def test_ids_are_those_paths_that_are_no_folders_here_wherever_they_stand(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "teachers" / "mrpc").mkdir(parents=True)
    config = {
        "teacher": {"path": "teachers/mrpc"},
        "student": {"path": "org/tiny"},
        "data": {"path": None},
        "stages": {"general": {"data": {"path": "org/corpus"}, "teacher": {"path": "/home/me/pretrained"}}},
    }
    assert hub_ids(config) == ["org/tiny", "org/corpus"]
