import json

import pytest

from kdfeatures.embeddings.folder import read_pooling, write_modules
from kdfeatures.embeddings.pooling import MODES, Pooling
from kdfeatures.errors import UserError


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("normalize", [False, True])
def test_what_is_written_is_read(tmp_path, mode, normalize):
    write_modules(tmp_path, Pooling(mode, normalize, 256), width=12, limit=64)
    assert read_pooling(str(tmp_path), "teacher.path") == Pooling(mode, normalize, 64)


def test_the_form_of_newer_versions_is_read(tmp_path):
    write_modules(tmp_path, Pooling(), width=12, limit=64)
    pooling = {"embedding_dimension": 12, "pooling_mode": "lasttoken", "include_prompt": True}
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    assert read_pooling(str(tmp_path), "teacher.path").mode == "lasttoken"


def test_a_plain_encoder_has_the_mean_of_its_tokens(tmp_path, caplog):
    caplog.set_level("INFO")
    (tmp_path / "config.json").write_text("{}")
    assert read_pooling(str(tmp_path), "teacher.path") == Pooling("mean", normalize=False)
    assert "has no modules.json: a text's vector is the mean of its tokens" in caplog.text


def changed(folder, name, content):
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))


def modules(*paths_and_kinds):
    return [{"path": path, "type": f"x.{kind}"} for path, kind in paths_and_kinds]


ENCODER, POOLED = ("", "Transformer"), ("1_Pooling", "Pooling")


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("modules.json", "[", "modules.json is no JSON"),
        ("modules.json", modules(ENCODER, POOLED, ("2", "Dense")), "is made of Transformer, Pooling, Dense"),
        ("modules.json", modules(("0_Old", "Transformer"), POOLED), "keeps its encoder in the folder 0_Old"),
        ("modules.json", modules(ENCODER, ("9", "Pooling")), "lacks 9/config.json"),
        (
            "1_Pooling/config.json",
            {"pooling_mode_cls_token": True, "pooling_mode_max_tokens": True},
            "joins the poolings cls, max",
        ),
        ("1_Pooling/config.json", {"pooling_mode": "median"}, "has the pooling 'median'"),
        ("sentence_bert_config.json", {"do_lower_case": True}, "puts texts into lower case"),
        (
            "config_sentence_transformers.json",
            {"default_prompt_name": "query", "prompts": {"query": "query: "}},
            "puts the prompt 'query' before every text",
        ),
    ],
)
def test_what_would_give_other_vectors_is_refused(tmp_path, name, content, told):
    write_modules(tmp_path, Pooling(), width=12, limit=64)
    changed(tmp_path, name, content)
    with pytest.raises(UserError, match=told):
        read_pooling(str(tmp_path), "teacher.path")


def test_an_empty_prompt_is_none(tmp_path):
    write_modules(tmp_path, Pooling(), width=12, limit=64)
    changed(
        tmp_path, "config_sentence_transformers.json", {"default_prompt_name": "document", "prompts": {"document": ""}}
    )
    assert read_pooling(str(tmp_path), "teacher.path").mode == "mean"


@pytest.mark.parametrize(
    ("of_pooling", "limit", "written"), [(None, 40, 40), (16, 40, 16), (64, 40, 40), (None, None, None)]
)
def test_texts_are_as_long_as_model_and_pooling_take(tmp_path, of_pooling, limit, written):
    write_modules(tmp_path, Pooling(max_length=of_pooling), width=12, limit=limit)
    assert json.loads((tmp_path / "sentence_bert_config.json").read_text())["max_seq_length"] == written
