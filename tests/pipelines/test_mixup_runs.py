"""Whole runs on mixed texts: what is logged and told, that they go on where they stopped, and what is refused."""

import json
import re

import pytest
from safetensors.torch import load_file
from support.composing import compose

from kdfeatures.cli.main import main
from kdfeatures.config.load import cache_run_settings, distill_settings
from kdfeatures.config.option_errors import option_line
from kdfeatures.distillation import Distiller
from kdfeatures.errors import UserError
from kdfeatures.pipelines.plan import plan_stages

MIXED = ["recipe=tinybert_joint", "mixup=embeddings", "student.layers=2", "trainer.logging_steps=1"]


def logged(folder, key):
    state = json.loads((folder / "trainer_state.json").read_text())
    return [entry[key] for entry in state["log_history"] if key in entry]


def test_the_stages_of_cr_ild(workspace, capsys):
    results = workspace.distil(
        "cr_ild", "recipe=cr_ild", "student.layers=2", "trainer.logging_steps=1",
        "stages.intermediate.trainer.num_train_epochs=1", "stages.prediction.trainer.num_train_epochs=1",
    )  # fmt: skip
    assert [stage["name"] for stage in results["stages"]] == ["intermediate", "prediction"]
    first = workspace.folder / "cr_ild" / "stages" / "1-intermediate"
    weights = logged(first, "weight/consistency")
    steps = len(weights)
    assert weights == pytest.approx([0.1 * step / steps for step in range(steps)], rel=1e-5)
    values = {name: logged(first, f"loss/{name}")[:steps] for name in ("hidden", "relations", "consistency")}
    totals = zip(*values.values(), weights, logged(first, "loss"), strict=True)
    for hidden, relations, consistency, weight, loss in totals:
        assert loss == pytest.approx(hidden + relations + weight * consistency, abs=1e-4)
    assert not logged(workspace.folder / "cr_ild" / "stages" / "2-prediction", "loss/consistency")


def test_explain_tells_how_texts_are_mixed_and_measures_their_consistency(workspace, capsys):
    schedule = "mixup.consistency={schedule: linear, start: 0.5, end: 1}"
    main(["explain", *workspace.task, f"teacher.path={workspace.teacher}", *MIXED, schedule])
    told = capsys.readouterr().out
    assert (
        "Texts are mixed two and two, alpha 1; weight of consistency with each of them alone 0.5 to 1, linear." in told
    )
    assert "| consistency " in told


def test_a_stopped_run_goes_on_with_the_same_shares(workspace, monkeypatch):
    options = [*MIXED, "mixup.consistency=0.1", "trainer.save_strategy=steps", "+trainer.save_steps=4",
               "trainer.eval_strategy=no", "trainer.max_steps=8"]  # fmt: skip
    workspace.distil("mixed_whole", *options)

    def stopped(distiller, *given):
        if (workspace.folder / "mixed_stopped" / "checkpoint-4").exists():
            raise RuntimeError("stopped")
        return compared(distiller, *given)

    compared = Distiller._compare_mixed
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="stopped"):
        patch.setattr(Distiller, "_compare_mixed", stopped)
        workspace.distil("mixed_stopped", *options)
    workspace.distil("mixed_stopped", *options, "existing=resume")
    whole, resumed = (
        load_file(workspace.folder / f"mixed_{name}" / "model.safetensors") for name in ("whole", "stopped")
    )
    assert all(whole[name].equal(resumed[name]) for name in whole)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["mixup.alpha=0"], r"mixup\.alpha=0\.0 must be a finite number above 0"),
        (["mixup.consistency=-1"], r"mixup\.consistency=-1\.0 must be a finite number that is not negative"),
        (["mixup=off", "mixup.alpha=0.5"], r"mixup\.alpha=0\.5 has no effect with mixup=off"),
        (["+loss@losses.labels=hard_label"], r"losses\.labels reads labels, and two texts that mixup=embeddings mixes"),
        (
            ["cache=auto", "cache.path=features"],
            r"cache=auto holds what a teacher says of the texts as they are, but mixup=embeddings mixes",
        ),
        (["recipe=logits", "~losses.labels", "mixup.consistency=1"], r"by the terms on layers, and there is none"),
        (["balance=shares", "mixup.consistency=1"], r"balance=shares knows the gradients of terms alone"),
        (["+loss@losses.consistency=hidden_mse", "mixup.consistency=1"], r"losses\.consistency has the name"),
        (["trainer.activation_checkpointing=true"], r"trainer\.activation_checkpointing=true computes layers again"),
        (["+trainer.torch_compile=true"], r"trainer\.torch_compile=true would compile each anew"),
    ],
)
def test_what_cannot_be_mixed_is_refused_before_anything_is_loaded(workspace, tmp_path, overrides, message):
    cfg = compose("distill", *workspace.task, f"teacher.path={workspace.teacher}", *MIXED, *overrides)
    with pytest.raises(UserError) as refused:
        plan_stages(distill_settings(cfg, tmp_path), tmp_path)
    assert re.search(message, option_line(refused.value))


def test_a_cache_is_refused_where_it_is_filled(workspace, tmp_path):
    given = [*workspace.task, f"teacher.path={workspace.teacher}", f"cache.path={tmp_path}", "recipe=cr_ild"]
    with pytest.raises(UserError, match=r"but stages\.intermediate\.mixup=embeddings mixes them anew"):
        cache_run_settings(compose("cache", *given), tmp_path)
