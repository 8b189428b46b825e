import json

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertModel

from kdfeatures.cli.main import main

pytest.importorskip("onnxruntime")


@pytest.mark.slow
@pytest.mark.usefixtures("operators_once")
def test_all_formats_are_scored_alike_whatever_the_order_of_the_models_classes(workspace, capsys):
    model = AutoModelForSequenceClassification.from_pretrained(workspace.teacher)
    names = model.config.id2label
    model.config.id2label, model.config.label2id = {0: names[1], 1: names[0]}, {names[1]: 0, names[0]: 1}
    with torch.no_grad():
        model.classifier.weight.copy_(model.classifier.weight.flip(0))
        model.classifier.bias.copy_(model.classifier.bias.flip(0))
    flipped, folder = workspace.folder / "flipped", workspace.folder / "exported"
    model.save_pretrained(flipped)
    AutoTokenizer.from_pretrained(workspace.teacher).save_pretrained(flipped)
    # a second part to report, as MNLI has
    options = ["task.files.extra=train.csv", f"model.path={flipped}", f"output_dir={folder}", "resamples=50"]
    command = ["export", *workspace.task, *options]
    main(command)

    results = json.loads((folder / "results.json").read_text())
    trained = json.loads((workspace.teacher / "results.json").read_text())["student"]["metrics"]["validation"]
    formats = results["formats"]
    assert list(formats) == ["torch", "onnx", "int8"]
    assert results["examples"] == {"validation": 80, "extra": 320}
    assert formats["torch"]["metrics"]["validation"] == trained
    assert formats["torch"]["metrics"] == formats["onnx"]["metrics"]
    assert formats["torch"]["metrics"]["extra"] != trained
    assert formats["onnx"]["difference"] == {"validation": [0.0, 0.0, 0.0], "extra": [0.0, 0.0, 0.0]}
    assert abs(formats["int8"]["difference"]["validation"][0]) < 0.05
    assert formats["int8"]["bytes"] == (folder / "model-int8.onnx").stat().st_size
    assert formats["torch"]["latency_ratio"] == [1.0, 1.0, 1.0]
    table = (folder / "table.md").read_text()
    assert "| combined_score, extra |" in table and "80 examples of validation and 320 examples of extra" in table
    assert [line.split()[1] for line in table.splitlines() if line.startswith("| ")] == ["format", *formats]
    assert table in capsys.readouterr().out

    before = (folder / "model.onnx").stat().st_mtime_ns
    main([*command, "existing=resume"])
    assert (folder / "model.onnx").stat().st_mtime_ns == before


@pytest.mark.slow
@pytest.mark.usefixtures("operators_once")
def test_a_regression_is_exported_with_its_scores(workspace):
    regression = [text for text in workspace.task if not text.startswith(("task.label", "task.metrics"))]
    regression += ["task.label=score", "task.labels=[]", "task.metrics=[pearson,spearmanr]"]
    source, folder = workspace.folder / "scorer", workspace.folder / "exported_scorer"
    shallow = workspace.folder / "one_layer"  # each takes half a second to trace
    BertModel.from_pretrained(workspace.encoder, num_hidden_layers=1).save_pretrained(shallow)
    AutoTokenizer.from_pretrained(workspace.encoder).save_pretrained(shallow)
    trained = [f"model.path={shallow}", "trainer.num_train_epochs=1", "trainer.disable_tqdm=true"]
    main(["finetune", *regression, *trained, f"output_dir={source}"])
    main(["export", *regression, f"model.path={source}", f"output_dir={folder}", "resamples=50"])
    results = json.loads((folder / "results.json").read_text())
    assert results["metric"] == "combined_score"
    assert results["formats"]["onnx"]["difference"]["validation"] == pytest.approx([0, 0, 0], abs=1e-3)


def refusal(capsys, folder, *overrides):
    with pytest.raises(SystemExit, match="2"):
        main(["export", f"output_dir={folder}", *overrides])
    return capsys.readouterr().err


def test_what_cannot_be_exported_is_refused_in_one_line(workspace, capsys, tmp_path):
    assert "nothing to export: give model.path=" in refusal(capsys, tmp_path / "a", *workspace.task)
    assert "task=text has no labels" in refusal(capsys, tmp_path / "b", "task=text", f"data.path={tmp_path}")
    headless = refusal(capsys, tmp_path / "c", *workspace.task, f"model.path={workspace.encoder}")
    assert "was never fine-tuned for classification" in headless
    in_place = [f"model.path={workspace.teacher}", "existing=overwrite"]
    assert "is the folder output_dir=" in refusal(capsys, workspace.teacher, *workspace.task, *in_place)
    assert (workspace.teacher / "model.safetensors").exists()


def test_hidden_labels_are_refused_before_anything_is_written(workspace, capsys, tmp_path):
    source = workspace.folder / "unlabelled.csv"
    source.write_text("sentence,label\nthe dog slept,-1\n", encoding="utf-8")
    task = [text for text in workspace.task if "files.test" not in text] + ["task.files.test=unlabelled.csv"]
    folder = tmp_path / "hidden"
    assert "are hidden" in refusal(capsys, folder, *task, "split=test", f"model.path={workspace.teacher}")
    assert not (folder / "model.onnx").exists()
