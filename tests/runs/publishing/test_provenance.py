from kdfeatures.runs.publishing import provenance
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


def test_commits_are_those_of_what_a_run_asked_for(monkeypatch):
    models = {"org/one": "1" * 40, "org/two@v2": "2" * 40, "org/words": "3" * 40, "org/corpus": "4" * 40}
    data = {("org/corpus", None): "5" * 40, ("org/glue", "v1"): "6" * 40}
    monkeypatch.setattr(provenance, "commit_of", models.get)
    monkeypatch.setattr(provenance, "commit_of_data", lambda name, revision: data.get((name, revision)))
    config = {
        "task": {"dataset": "org/glue"},
        "data": {"path": None, "revision": "v1"},
        "student": {"path": "org/two", "revision": "v2"},
        "teacher": {"path": "org/one", "revision": None},
        "teachers": {"b": {"path": "org/two", "revision": "v3"}},
        "augmentation": {"mlm": "org/words"},
        "stages": {"general": {"data": {"path": "org/corpus", "revision": None}}},
    }
    assert provenance.commits(config) == {
        "org/one": "1" * 40,
        "org/two@v2": "2" * 40,
        "org/words": "3" * 40,
        "datasets/org/glue@v1": "6" * 40,
        "datasets/org/corpus": "5" * 40,
    }
    local = config | {"data": {"path": "folder", "revision": None}, "task": {"dataset": "org/corpus"}, "stages": {}}
    assert not any(name.startswith("datasets/") for name in provenance.commits(local))
