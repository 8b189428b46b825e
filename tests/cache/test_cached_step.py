"""A step on cached features against one with the live teacher."""

import pytest
import torch
from support.caching import collators, shards, small_cache
from support.runs_for_tests import small_dataset, small_distiller, small_trainer
from support.tiny import tiny_classifier, undropped
from transformers import DataCollatorWithPadding

from kdfeatures.cache import CachedCollator, needed, with_rows
from kdfeatures.data.synthetic import tokenizer
from kdfeatures.distillation.bound import BoundObjective
from kdfeatures.distillation.distiller import Distiller
from kdfeatures.distillation.term import BoundTerm
from kdfeatures.losses import AttentionKL, AttentionScoreMSE, LogitMSE, RelationKL, ValueRelation
from kdfeatures.mapping.pairs import LayerPair


def loss_and_gradients(distiller, batch):
    distiller.train().zero_grad()
    loss = distiller(**batch).loss
    loss.backward()
    return [loss.detach(), *(parameter.grad.clone() for parameter in distiller.parameters())]


def rows_of(examples, rows):
    return [examples[row] for row in rows]


@pytest.mark.parametrize("rows", [[0, 1, 2, 3], [40, 3, 17], [47], list(range(30, 10, -1))])
def test_loss_and_gradients_equal_the_live_teachers_for_any_batch(cache, distiller, examples, rows):
    examples, plain, cached = collators(cache, distiller, examples)
    without = [{name: value for name, value in row.items() if name != "teacher_row"} for row in rows_of(examples, rows)]
    live = loss_and_gradients(distiller, plain(without))
    distiller.teacher.register_forward_pre_hook(lambda *_: pytest.fail("the teacher ran"))
    for one, other in zip(live, loss_and_gradients(distiller, cached(rows_of(examples, rows))), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 2e-3), ("bfloat16", 2e-2)])
def test_half_precision_keeps_the_loss_within_its_rounding(tmp_path, distiller, examples, dtype, tolerance):
    examples, plain, cached = collators(small_cache(tmp_path, distiller.teacher, dtype=dtype), distiller, examples)
    rows = rows_of(examples, range(16))
    batch = cached(rows)
    assert batch["teacher_features"]["hidden"][2].dtype == getattr(torch, dtype)
    assert batch["teacher_features"]["logits"].dtype == torch.float32
    loss, *gradients = loss_and_gradients(distiller, batch)
    del batch["teacher_features"]
    live, *expected = loss_and_gradients(distiller, batch)
    assert not torch.equal(loss, live)
    torch.testing.assert_close(loss, live, rtol=tolerance, atol=0)
    error = sum((a - b).square().sum() for a, b in zip(gradients, expected, strict=True)).sqrt()
    assert error < 5 * tolerance * sum(gradient.square().sum() for gradient in expected).sqrt()


def test_padding_on_the_left_is_followed(cache, distiller, examples):
    features = cache.features(examples, needed(distiller.objective))
    words = tokenizer()
    right = CachedCollator(DataCollatorWithPadding(words), features)(rows_of(with_rows(examples), range(6)))
    words.padding_side = "left"
    left = CachedCollator(DataCollatorWithPadding(words), features)(rows_of(with_rows(examples), range(6)))
    for batch in (left, right):
        batch["real"] = batch["attention_mask"].bool()
        assert not batch["teacher_features"]["hidden"][2][~batch["real"]].any()
    assert not torch.equal(left["real"], right["real"])
    states = [batch["teacher_features"]["hidden"][2][batch["real"]] for batch in (left, right)]
    assert torch.equal(*states)


def test_a_training_run_ends_with_the_same_student(tmp_path, examples):
    found = []
    for name in ("live", "cached"):
        trainer = small_trainer(small_distiller(), tmp_path / name, train_sampling_strategy="group_by_length")
        if name == "cached":
            teacher = trainer.model.teacher
            cached = small_cache(tmp_path / "cache", teacher).features(examples, needed(trainer.model.objective))
            trainer.train_dataset = with_rows(trainer.train_dataset)
            trainer.data_collator = CachedCollator(trainer.data_collator, cached)
            teacher.register_forward_pre_hook(lambda *_: pytest.fail("the teacher ran"))
        trainer.train()
        trainer.evaluate()
        found.append((trainer.model.state_dict(), trainer.state.log_history))
    for name, tensor in found[0][0].items():
        torch.testing.assert_close(tensor, found[1][0][name], rtol=1e-4, atol=2e-5, msg=name)
    assert found[0][1][3]["loss/hidden"] == pytest.approx(found[1][1][3]["loss/hidden"], rel=1e-4)


def test_a_distiller_of_cached_features_needs_no_teacher_at_all(cache, distiller, examples):
    examples, _, cached = collators(cache, distiller, examples)
    alone = Distiller(distiller.student, None, distiller.objective, [0, 1])
    batch = cached(rows_of(examples, range(5)))
    torch.testing.assert_close(alone.train()(**batch).loss, distiller.train()(**batch).loss)
    alone.to(torch.float64).detach()


ATTENTION = {
    "scores": AttentionScoreMSE(),
    "probabilities": AttentionKL(),
    "values": ValueRelation(),
    "relations": RelationKL(relation_heads=2),
}
# plain, rotary, sliding windows, grouped queries, eager, relative positions, scaled queries, one module for all layers
FAMILIES = ["roberta", "nomic_bert", "modernbert", "eurobert", "roformer", "mpnet", "esm", "albert"]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_attention_loss_is_the_same_of_cached_operands(tmp_path, family):
    teacher, student = undropped(family), undropped("bert")  # the student has no window of its own
    losses = {n: loss for n, loss in ATTENTION.items() if not (family == "mpnet" and loss.compares_scores)}
    terms = {name: BoundTerm(loss, 1.0, (LayerPair(1, 1), LayerPair(3, 2))) for name, loss in losses.items()}
    distiller = Distiller(student, teacher, BoundObjective(terms, torch.nn.Identity()), [0, 1]).train()
    examples, _, cached = collators(small_cache(tmp_path, teacher), distiller, small_dataset(20))
    batch = cached(rows_of(examples, [3, 19, 7, 11]))
    distiller(**batch)
    found = distiller.parts
    del batch["teacher_features"]
    distiller(**batch)
    for name in losses:
        torch.testing.assert_close(found[name], distiller.parts[name], rtol=2e-5, atol=1e-6, msg=name)
        assert found[name] > 0


@pytest.mark.parametrize("name", ATTENTION)
def test_only_the_operands_that_a_loss_reads_are_kept(tmp_path, name):
    loss, teacher = ATTENTION[name], tiny_classifier()
    objective = BoundObjective({"term": BoundTerm(loss, 1.0, (LayerPair(1, 2),))}, torch.nn.Identity())
    distiller = Distiller(tiny_classifier(), teacher, objective, [0, 1])
    cache = small_cache(tmp_path, teacher)
    examples, _, cached = collators(cache, distiller, small_dataset(8))
    (shard,) = shards(cache)
    assert {path.name for path in shard.iterdir()} == {"digests", "lengths", *(f"{of}.2" for of in loss.operands)}
    found = distiller.train()(**cached(rows_of(examples, range(8)))).loss
    assert torch.isfinite(found)  # operands that are not kept are NaN


def test_scores_of_a_regression_and_token_types_are_kept(tmp_path):
    teacher, student = undropped("bert"), undropped("bert")
    for model in (teacher, student):
        model.classifier = torch.nn.Linear(24, 1)
    distiller = Distiller(
        student, teacher, BoundObjective({"score": BoundTerm(LogitMSE(), 1.0)}, torch.nn.Identity()), [0]
    )
    examples = small_dataset(12)
    types = [[n % 2] * len(ids) for n, ids in enumerate(examples["input_ids"])]
    examples = examples.add_column("token_type_ids", types)
    cache = small_cache(tmp_path, teacher)
    examples, _, cached = collators(cache, distiller, examples)
    batch = cached(rows_of(examples, [2, 7, 5]))
    assert batch["teacher_features"]["logits"].shape == (3, 1)
    found = distiller.train()(**batch).loss
    del batch["teacher_features"]
    torch.testing.assert_close(found, distiller(**batch).loss, rtol=1e-5, atol=1e-7)
    batch["token_type_ids"] = 1 - batch["token_type_ids"]
    assert not torch.isclose(found, distiller(**batch).loss)
