import json

from kdfeatures.cli.main import main


def test_a_recipe_file_of_the_users_is_called_by_its_name(workspace, tmp_path):
    (tmp_path / "conf" / "recipe").mkdir(parents=True)
    (tmp_path / "conf" / "recipe" / "mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - /loss@losses.labels: hard_label\n  - /loss@losses.logits: logit_kd\n"
    )
    main(["distill", "--config-dir", str(tmp_path / "conf"), *workspace.task, f"teacher.path={workspace.teacher}",
          f"output_dir={tmp_path / 'run'}", "recipe=mine", "trainer.max_steps=2"])  # fmt: skip
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["recipe"] == "mine" and results["config"]["recipe_name"] == "mine"
