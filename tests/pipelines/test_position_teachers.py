"""Whole runs with teachers whose attention adds position terms to q k'."""

import pytest
import torch
from support.workspace import Workspace
from transformers import (
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
    MPNetConfig,
    MPNetForSequenceClassification,
)

from kdfeatures.data.synthetic import tokenizer

SIZES = {
    "num_hidden_layers": 4, "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64, "num_labels": 2,
    "id2label": {0: "plain", 1: "relative"}, "label2id": {"plain": 0, "relative": 1}, "initializer_range": 0.1,
}  # fmt: skip
RECIPES = {"tinybert": ["recipe=tinybert"], "minilm": ["recipe=minilm_joint"], "mobilebert": ["recipe=mobilebert"]}


@pytest.fixture(scope="module")
def teachers(workspace: Workspace):
    """Folders of an MPNet and a DeBERTa-v2, untrained."""
    words, folders = tokenizer(), {}
    deberta = DebertaV2Config(
        vocab_size=len(words), relative_attention=True, pos_att_type=["c2p", "p2c"], position_buckets=4,
        share_att_key=True, norm_rel_ebd="layer_norm", type_vocab_size=2, pad_token_id=words.pad_token_id, **SIZES,
    )  # fmt: skip
    mpnet = MPNetConfig(vocab_size=len(words), pad_token_id=words.pad_token_id, **SIZES)
    for name, model, config in (
        ("mpnet", MPNetForSequenceClassification, mpnet),
        ("deberta-v2", DebertaV2ForSequenceClassification, deberta),
    ):
        torch.manual_seed(0)
        folders[name] = workspace.folder / name
        model(config).save_pretrained(folders[name])
        words.save_pretrained(folders[name])
    return folders


def options(workspace, teachers, family):
    own = ["student.layers=2"] if family == "mpnet" else [f"student.path={workspace.encoder}"]
    return [f"teacher.path={teachers[family]}", *own, "trainer.max_steps=2", "teacher.force=true"]


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("family", ["mpnet", "deberta-v2"])
def test_recipes_on_scores_run(workspace, teachers, family, recipe):
    given = RECIPES[recipe]
    results = workspace.distil(f"{family}_{recipe}", *given, *options(workspace, teachers, family))
    losses = results["losses"] if not results.get("stages") else results["stages"][0]["losses"]
    assert losses["attention"] > 0


def test_a_cache_that_would_lose_the_position_terms_is_refused(workspace, teachers, capsys):
    with pytest.raises(SystemExit, match="2"):
        workspace.distil(
            "cached_positions", "recipe=minilm_joint", "cache=auto", f"cache.path={workspace.folder / 'positions'}",
            *options(workspace, teachers, "mpnet"),
        )  # fmt: skip
    line = capsys.readouterr().err.splitlines()[-1]
    assert "losses.attention compares attention scores, of which a cache keeps queries and keys" in line
    assert "'mpnet' adds relative positions to them; set cache=off, or use relation_kl" in line


def test_heads_are_matched_by_scores_with_position_terms(workspace, teachers):
    results = workspace.distil(
        "matched_positions", "recipe=minilm_joint", "+heads@losses.attention.heads=hungarian",
        *options(workspace, teachers, "mpnet"),
    )  # fmt: skip
    assert results["heads"]["attention"]["rule"] == "hungarian"
