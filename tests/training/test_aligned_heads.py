"""What heads that are brought together do in a Distiller and its Trainer."""

import pytest
import safetensors.torch
import torch
from support.moving import moving_map
from support.refused import refused_as
from support.runs_for_tests import StopAt, small_dataset, small_trainer
from support.tiny import tiny_batch, tiny_classifier

from kdfeatures.alignment import HeadSizes, HungarianHeads, LearnedHeads, MeanHeads, RelationHeads
from kdfeatures.alignment.hungarian import HeadMatches
from kdfeatures.capture.context import capture
from kdfeatures.data.synthetic import tokenizer
from kdfeatures.distillation.bound import BoundObjective
from kdfeatures.distillation.distiller import Distiller
from kdfeatures.distillation.term import BoundTerm
from kdfeatures.errors import ConfigError
from kdfeatures.losses import AttentionKL, AttentionScoreMSE
from kdfeatures.mapping.pairs import LayerPair
from kdfeatures.training.calibration import fit_heads
from kdfeatures.training.checkpoints import HEADS

PAIRS = (LayerPair(1, 2), LayerPair(2, 3))
STEADY = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
SIZES = HeadSizes(2, 16, 4, 24)  # heads and widths of student and teacher


def matched(pairs):
    heads = HungarianHeads(pairs, SIZES, measure="correlation", examples=16)
    heads.fit({pair: HeadMatches([(0, 3), (1, 1)], [0.5, 0.4]) for pair in pairs})
    return heads


KINDS = {
    "mean": lambda pairs: MeanHeads(pairs, SIZES),
    "relation": lambda pairs: RelationHeads(pairs, SIZES, count=8),
    "learned": lambda pairs: LearnedHeads(pairs, SIZES),
    "hungarian": matched,
}


def aligned_distiller(kind, loss=None, moving=None):
    torch.manual_seed(0)
    teacher = tiny_classifier(layers=3, width=24, heads=4)
    student = tiny_classifier(layers=2, width=16, heads=2, **STEADY)
    pairs = PAIRS if moving is None else moving.pairs
    loss = AttentionScoreMSE() if loss is None else loss
    term = BoundTerm(loss, 1.0, pairs, "sum", map=moving, heads=KINDS[kind](pairs))
    return Distiller(student, teacher, BoundObjective({"attention": term}, torch.nn.Identity()), [0, 1])


def fit(distiller, checkpoint=None):
    models = {"main": distiller.teacher}
    fit_heads(distiller.objective, distiller.student, models, small_dataset(), tokenizer(), 0, checkpoint)


@pytest.mark.parametrize("loss", [AttentionScoreMSE(), AttentionKL()], ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("kind", KINDS)
def test_a_step_is_the_loss_of_aligned_captured_heads(kind, loss):
    distiller, batch = aligned_distiller(kind, loss).train(), tiny_batch()
    found = {}
    for side, layers in (("student", (1, 2)), ("teacher", (2, 3))):
        model = getattr(distiller, side)
        with capture(model, attention=layers) as features, torch.no_grad():
            model(**batch)
        found[side] = features.attention
    heads, mask = distiller.objective.terms["attention"].heads, batch["attention_mask"].bool()
    each = [loss(*heads(p, found["student"][p.student], found["teacher"][p.teacher], mask), mask) for p in PAIRS]
    torch.testing.assert_close(distiller(**batch).loss, sum(each))


@pytest.mark.parametrize("rule", ["random", "emd", "learned"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_map_that_moves_weighs_aligned_heads(rule, kind):
    distiller, batch = aligned_distiller(kind, moving=moving_map(rule, embeddings=False)).train(), tiny_batch()
    total = distiller(**batch).loss
    total.backward()
    weights = distiller.objective.maps["attention"].weights()
    heads, mask = distiller.objective.terms["attention"].heads, batch["attention_mask"].bool()
    with capture(distiller.student, attention=(1, 2)) as own, torch.no_grad():
        distiller.student(**batch)
    with capture(distiller.teacher, attention=(1, 2, 3)) as other, torch.no_grad():
        distiller.teacher(**batch)
    expected = sum(
        weights[p.student - 1, p.teacher - 1]
        * AttentionScoreMSE()(*heads(p, own.attention[p.student], other.attention[p.teacher], mask), mask)
        for p in distiller.objective.terms["attention"].pairs
    )
    torch.testing.assert_close(total.detach(), expected.detach())
    assert all(mix.grad.any() for mix in heads.parameters())


@pytest.mark.parametrize("kind", ["learned", "hungarian"])
def test_a_resumed_run_ends_with_the_same_weights_and_heads_to_the_bit(tmp_path, kind):
    def run(folder, stop=None, resume=None):
        distiller = aligned_distiller(kind)
        fit(distiller, resume)
        trainer = small_trainer(distiller, folder, save_strategy="steps", save_steps=4)
        if stop:
            trainer.add_callback(StopAt(stop))
        trainer.train(resume_from_checkpoint=None if resume is None else str(resume))
        return trainer.model

    whole = run(tmp_path / "whole")
    run(tmp_path / "parts", stop=4)
    checkpoint = tmp_path / "parts" / "checkpoint-4"
    parts = run(tmp_path / "parts", resume=checkpoint)
    for (name, one), other in zip(whole.state_dict().items(), parts.state_dict().values(), strict=True):
        assert torch.equal(one, other), name
    saved = safetensors.torch.load_file(checkpoint / HEADS)
    assert saved.keys() == whole.objective.alignments.state_dict().keys()
    told = "checkpoint-4 was written with other {}; resume with the same"
    with refused_as(told.format("heads"), None, told.format("heads=")):
        fit(aligned_distiller("hungarian" if kind == "learned" else "learned"), checkpoint)


def test_a_learned_mix_is_trained_at_the_projections_rate(tmp_path):
    trainer = small_trainer(aligned_distiller("learned"), tmp_path, projection_learning_rate=0.25)
    trainer.create_optimizer()
    mixes = {id(mix) for mix in trainer.model.objective.alignments.parameters()}
    rates = {group["lr"] for group in trainer.optimizer.param_groups if mixes & {id(p) for p in group["params"]}}
    assert rates == {0.25}


def test_matching_finds_the_heads_of_a_teacher_whose_heads_are_in_another_order():
    torch.manual_seed(0)
    teacher = tiny_classifier(layers=1, width=24, heads=4, initializer_range=0.4)
    student = tiny_classifier(layers=1, width=24, heads=4, **STEADY)
    student.load_state_dict(teacher.state_dict())
    order = [2, 0, 3, 1]
    rows = torch.arange(24).view(4, 6)[order].flatten()
    attention = student.base_model.encoder.layer[0].attention
    for name in ("query", "key", "value"):
        linear = getattr(attention.self, name)
        linear.weight.data, linear.bias.data = linear.weight.data[rows], linear.bias.data[rows]
    heads = HungarianHeads((LayerPair(1, 1),), HeadSizes(4, 24, 4, 24), measure="divergence", examples=16)
    term = BoundTerm(AttentionScoreMSE(), 1.0, (LayerPair(1, 1),), heads=heads)
    distiller = Distiller(student, teacher, BoundObjective({"attention": term}, torch.nn.Identity()), [0, 1])
    with pytest.raises(ConfigError, match="'attention' has heads=hungarian, which is measured before training"):
        distiller.train()(**tiny_batch())
    fit(distiller)
    assert heads.state()["1_to_1"] == {"pairs": [[n, head] for n, head in enumerate(order)], "similarity": [1.0] * 4}
    assert distiller(**tiny_batch()).loss < 1e-10
