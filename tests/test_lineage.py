from kdfeatures.lineage import base_models
from kdfeatures.results import write_results


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
