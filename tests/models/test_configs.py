import pytest
import torch
from support.model_folders import edit_json, refused_line, save_classifier
from support.shared_data import glue_task
from support.tiny import tiny_batch

from kdfeatures.models.configs import RUN_TIME, load_config
from kdfeatures.models.load import load_for_task
from kdfeatures.models.students import StudentSpec, build_student
from kdfeatures.models.tokenizers import load_tokenizer

RTE = glue_task("rte")
# of every flag a value that changes what a forward pass returns, or needs what is not there
FLAGS = {
    "output_attentions": True,
    "output_hidden_states": True,
    "return_dict": False,
    "use_return_dict": False,
    "use_cache": True,
    "torchscript": True,
    "chunk_size_feed_forward": 3,
    "gradient_checkpointing": True,
    "attn_implementation": "flash_attention_2",
    "_attn_implementation": "flash_attention_2",
    "_attn_implementation_internal": "flash_attention_2",
    "experts_implementation": "eager",
    "dtype": "float16",
    "torch_dtype": "bfloat16",
}


@pytest.fixture
def folder(tmp_path):
    return save_classifier(tmp_path / "model")


@pytest.mark.parametrize("flag", RUN_TIME)
def test_how_a_model_was_run_is_not_taken_over_and_not_handed_on_to_its_student(folder, tmp_path, flag):
    model = load_for_task(str(folder), "model.path", RTE)
    edit_json(folder / "config.json", **{flag: FLAGS[flag]})
    changed, batch = load_for_task(str(folder), "model.path", RTE), tiny_batch()
    with torch.no_grad():
        output, expected = (each.eval()(**batch) for each in (changed, model))
    assert torch.equal(output.logits, expected.logits)
    assert output.hidden_states is None and output.attentions is None
    assert changed.config.to_dict() == model.config.to_dict()
    student = build_student(StudentSpec(layers=1), changed, [0, 1], RTE)
    student.save_pretrained(tmp_path / "student")  # of a config with output_attentions this is refused
    assert {tensor.dtype for tensor in student.parameters()} == {torch.float32}
    load_tokenizer(str(folder), "model.path")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"hidden_act": "gellu"}, "its config.json has the unknown hidden_act 'gellu'; did you mean 'gelu'?."),
        ({"num_attention_heads": 0}, "its config.json has num_attention_heads 0, which must be at least 1."),
        ({"max_position_embeddings": -4}, "its config.json has max_position_embeddings -4, which must be at least 1."),
        ({"num_hidden_layers": 10**5}, "its config.json has num_hidden_layers 100,000, which must be at most 1,000."),
        ({"hidden_size": 10**7}, "its config.json has hidden_size 10,000,000, which must be at most 65,536."),
        ({"num_labels": 10**7}, "its config.json has num_labels 10,000,000, which must be at most 1,000,000."),
        ({"num_hidden_layers": "3"}, "Field 'num_hidden_layers' expected int, got str (value: '3')"),
        ({"num_hidden_layers": 3.0}, "Field 'num_hidden_layers' expected int, got float (value: 3.0)"),
        ({"id2label": ["a", "b"]}, "has an id2label that is no mapping of ids to names: ['a', 'b']."),
        ({"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}}, "holds quantised weights"),
        ({"quantization_config": {"quant_method": "fp8"}}, "holds quantised weights (quantization_config in its"),
        ({"model_type": "nothing"}, "holds no model config that can be loaded: "),
    ],
    ids=str,
)
def test_a_config_that_no_model_can_have_is_one_line(folder, changed, told):
    edit_json(folder / "config.json", **changed)
    line = refused_line(load_config, str(folder), "teacher.path")
    assert line.startswith(f"teacher.path={folder}") and told in line
    assert line == refused_line(load_tokenizer, str(folder), "teacher.path")


def test_code_beside_a_model_is_neither_run_nor_asked_for(folder, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked"))
    (folder / "own.py").write_text("raise SystemExit('ran')\n")
    edit_json(folder / "config.json", model_type="own", auto_map={"AutoConfig": "own.Config"})
    assert "brings its own Python code (auto_map" in refused_line(load_config, str(folder), "teacher.path")


@pytest.mark.parametrize("content", [b"{", b"[]", b"null", b"\xff\xfe\x00", b""])
def test_a_config_that_cannot_be_read_is_one_line(folder, content):
    (folder / "config.json").write_bytes(content)
    told = refused_line(load_config, str(folder), "student.path")
    assert told.startswith(f"student.path={folder} holds no model config that can be loaded: ")


@pytest.mark.parametrize("load", [load_config, load_tokenizer])
def test_a_folder_without_config_is_refused(tmp_path, load):
    told = refused_line(load, str(tmp_path), "teacher.path")
    assert told == f"teacher.path={tmp_path} is a folder without config.json, so it holds no model."


@pytest.mark.parametrize("path", ["/no/such/folder", "./nowhere", "../nowhere", "~/nowhere", "a/b/c"])
def test_what_can_only_be_a_folder_is_not_looked_for_on_the_hub(path):
    assert refused_line(load_config, path, "teacher.path") == f"teacher.path={path}: no such folder."
