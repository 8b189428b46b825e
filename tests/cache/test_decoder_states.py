"""Soft answers over a vocabulary from the cache: the states before the teacher's decoder, and its decoder."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from datasets import Dataset
from support.caching import shards, small_cache
from support.shared_data import task_config
from support.tagged import pieces_tokenizer, sentences
from support.tiny import tiny_config
from transformers import AutoModelForMaskedLM

from kdfeatures.cache import DECODER_STATES, CachedCollator, CachedTeachers, logits_for, needed, with_rows
from kdfeatures.cache.arrays import HEADER
from kdfeatures.cache.key import digests_of
from kdfeatures.cache.quantities import TOKEN_LOGITS, check_decoder
from kdfeatures.data.settings import DataSettings
from kdfeatures.data.text_inputs import OWN, TextData
from kdfeatures.distillation.distiller import Distiller
from kdfeatures.distillation.objective import Objective
from kdfeatures.distillation.teacher_outputs import restore
from kdfeatures.distillation.term import Term
from kdfeatures.errors import ConfigError, UserError
from kdfeatures.losses import DIST, HiddenMSE, LogitKD, MaskedLanguageModel, RelationKL
from kdfeatures.mapping.pairs import DEFAULT_TEACHER
from kdfeatures.models.teachers import make_ready
from kdfeatures.tasks.registry import task_type
from kdfeatures.tasks.task import Task

TASK = Task.from_config(task_config("text"))
TASK = replace(TASK, reading=replace(TASK.text_reading, masked_once=True, masked=0.3))
KIND = task_type(TASK)
OFF = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
WIDTH = 36


def masked_lm(layers, width, family="bert"):
    torch.manual_seed(layers)
    model = AutoModelForMaskedLM.from_config(tiny_config(family, layers=layers, width=width, **OFF)).eval()
    decoder = model.get_output_embeddings()
    if decoder.bias is not None:
        torch.nn.init.normal_(decoder.bias)  # it begins with 0, which would go unnoticed where it is left out
    return model


def text(seed=1, share=0.3, count=30):
    task = replace(TASK, reading=replace(TASK.text_reading, masked=share))
    raw = Dataset.from_dict({"text": [" ".join(row["tokens"]) for row in sentences(count, 3)]})
    return TextData(task, {"train": raw}, pieces_tokenizer(), 16).train(DataSettings(), seed)[OWN]


def cache_of(folder, teacher, **settings):
    cache = small_cache(folder, teacher, **settings)
    cache.tokenizer = pieces_tokenizer()
    return cache


def objective():
    return Objective(
        soft=Term(LogitKD(temperature=2.0), 0.5),
        masked=Term(MaskedLanguageModel(), 2.0),
        hidden=Term(HiddenMSE(), 0.1),
        relations=Term(RelationKL(relation_heads=4), layers="last"),
    )


def made(terms, teacher, **options):
    torch.manual_seed(0)
    return Distiller(masked_lm(2, 24), teacher, terms, **options).train()


def decoders(*teachers):
    return {name: teacher.get_output_embeddings() for name, teacher in teachers}


def loss_and_gradients(distiller, batch):
    distiller.zero_grad()
    loss = distiller(**batch).loss
    loss.backward()
    learned = ((name, parameter) for name, parameter in distiller.named_parameters() if parameter.grad is not None)
    return loss.detach(), {name: parameter.grad.clone() for name, parameter in learned}


def cached_and_live(folder, live, cached, rows=(3, 0, 11, 7), **settings):
    """Return loss and gradients on one batch, with features from a cache that the teacher of `live` fills, and live."""
    examples = text()
    features = cache_of(folder, live.teacher, **settings).features(
        examples, needed(live.objective, logits=logits_for(TASK))
    )
    live.teacher.register_forward_pre_hook(lambda *_: passes.append(1))
    passes = []
    plain = KIND.collator(pieces_tokenizer(), TASK, rows=True, seed=0)
    chosen = [with_rows(examples)[row] for row in rows]
    batch = CachedCollator(plain, features)(chosen)
    found = loss_and_gradients(cached, batch)
    assert passes == []
    del batch["teacher_features"]
    expected = loss_and_gradients(live, batch)
    assert passes == [1]
    return found, expected


@pytest.mark.parametrize("rows", [(3, 0, 11, 7), (5,), (0, 1, 2, 3, 4, 5, 6)])
def test_loss_and_gradients_equal_the_live_teachers_for_any_batch(tmp_path, rows):
    teacher = masked_lm(3, WIDTH)
    live = made(objective(), teacher)
    same = copy.deepcopy(live)
    cached = Distiller(same.student, None, same.objective, teacher_decoders=decoders((DEFAULT_TEACHER, teacher)))
    assert cached.teacher is None and len(cached._taps) == 1
    (loss, found), (expected, known) = cached_and_live(tmp_path, live, cached.train(), rows, dtype="float32")
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-6)
    assert found.keys() == known.keys() and any("decoder.bias" in name or "predictions.bias" in name for name in found)
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, known[name], rtol=1e-5, atol=1e-6, msg=name)


def beside_its_teacher(terms, teacher):
    """Return a distiller that has both a live teacher and the decoder of cached states."""
    return made(terms, teacher, teacher_decoders=decoders((DEFAULT_TEACHER, teacher)))


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 2e-3), ("bfloat16", 2e-2)])
def test_half_precision_keeps_the_loss_within_its_rounding(tmp_path, dtype, tolerance):
    distiller = beside_its_teacher(objective(), masked_lm(3, WIDTH))
    (loss, found), (expected, known) = cached_and_live(tmp_path, distiller, distiller, dtype=dtype)
    assert not torch.equal(loss, expected)
    torch.testing.assert_close(loss, expected, rtol=tolerance, atol=0)
    error = sum((found[name] - known[name]).square().sum() for name in known).sqrt()
    assert error < 5 * tolerance * sum(gradient.square().sum() for gradient in known.values()).sqrt()


def test_a_teacher_in_half_precision_multiplies_by_its_own_decoder(tmp_path):
    teacher = make_ready(masked_lm(3, WIDTH), dtype="bfloat16", compiled=False)
    distiller = beside_its_teacher(Objective(soft=Term(LogitKD(temperature=2.0))), teacher)
    (loss, _), (expected, _) = cached_and_live(tmp_path, distiller, distiller, dtype="bfloat16")
    torch.testing.assert_close(loss, expected, rtol=1e-3, atol=0)


def test_a_loss_that_relates_rows_gets_the_logits_as_a_whole(tmp_path):
    distiller = beside_its_teacher(Objective(related=Term(DIST())), masked_lm(3, WIDTH))
    assert distiller._taps == {}
    (loss, _), (expected, _) = cached_and_live(tmp_path, distiller, distiller, dtype="float32")
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)


def test_a_student_whose_logits_are_made_takes_those_of_the_teacher_made(tmp_path):
    distiller = beside_its_teacher(objective(), masked_lm(3, WIDTH))
    distiller._taps.pop(distiller.student).detach()  # as of one that is compiled by itself
    (loss, _), (expected, _) = cached_and_live(tmp_path, distiller, distiller, dtype="float32")
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)


def test_several_teachers_are_averaged_as_live_ones(tmp_path):
    teachers = {"one": masked_lm(3, WIDTH), "two": masked_lm(1, 12)}
    terms, examples = Objective(soft=Term(LogitKD(temperature=2.0))), text()
    distiller = made(terms, teachers, teacher_decoders=decoders(*teachers.items()))
    features = {
        name: cache_of(tmp_path, teacher).features(examples, [DECODER_STATES])
        for name, teacher in zip((DEFAULT_TEACHER, "two"), teachers.values(), strict=True)
    }
    collate = CachedCollator(KIND.collator(pieces_tokenizer(), TASK, rows=True, seed=0), CachedTeachers(features))
    batch = collate([with_rows(examples)[row] for row in (4, 2, 9)])
    found = distiller(**batch).loss
    del batch["teacher_features"]
    torch.testing.assert_close(found, distiller(**batch).loss, rtol=1e-5, atol=1e-6)


def test_a_compiled_teacher_fills_the_cache_with_the_same_states(tmp_path):
    teacher, examples = masked_lm(1, 24), text(count=10)  # dynamo traces each layer
    plain = cache_of(tmp_path / "plain", teacher).features(examples, [DECODER_STATES])
    teacher.compile(backend="eager", dynamic=True)
    compiled = cache_of(tmp_path / "compiled", teacher).features(examples, [DECODER_STATES])
    for one, other in zip(plain.decoder_states(), compiled.decoder_states(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    torch.compiler.reset()


def test_a_token_takes_two_bytes_times_the_width_and_no_logits_are_kept(tmp_path):
    teacher, examples = masked_lm(3, WIDTH), text()
    cache = cache_of(tmp_path, teacher, dtype="float16")
    cache.features(examples, [logits_for(TASK)])
    assert logits_for(TASK) == DECODER_STATES != TOKEN_LOGITS
    names = {file.name for shard in shards(cache) for file in shard.iterdir()}
    assert names == {"digests", "lengths", "decoder_states"}
    kept = [(shard / "decoder_states").stat().st_size - HEADER for shard in shards(cache)]
    tokens = sum(len(ids) for ids in examples["input_ids"])
    assert len(kept) > 1 and sum(kept) == tokens * WIDTH * 2


@pytest.mark.parametrize("change", [{"seed": 2}, {"share": 0.5}], ids=str)
def test_another_seed_or_share_reads_nothing_of_what_is_there(tmp_path, change):
    teacher, columns = masked_lm(2, 24), ["input_ids", "token_type_ids"]
    cache = cache_of(tmp_path, teacher)
    first = cache.features(text(), [DECODER_STATES])
    filled = len(shards(cache))
    cache.features(text(), [DECODER_STATES])
    assert len(shards(cache)) == filled
    others = text(**change)
    common = set(digests_of(others, columns)[0]) & set(digests_of(text(), columns)[0])
    assert len(common) < 0.1 * len(others)  # an example may be masked alike by chance, and is then the same text
    found = cache.features(others, [DECODER_STATES])
    assert len(shards(cache)) > filled
    fresh = cache_of(tmp_path / "fresh", teacher).features(others, [DECODER_STATES])
    for one, other in zip(found.decoder_states(), fresh.decoder_states(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    assert not all(map(torch.equal, first.decoder_states(), found.decoder_states()))


def test_cached_states_give_the_answers_of_the_teacher(tmp_path):
    teacher, examples = masked_lm(3, WIDTH), text()
    states = cache_of(tmp_path, teacher).features(examples, [logits_for(TASK)]).decoder_states()
    found = KIND.of_decoder_states(states, teacher.get_output_embeddings(), examples)
    live = KIND.predict(teacher, examples, pieces_tokenizer(), None, task=TASK, batch_size=4, title="test")
    np.testing.assert_allclose(found, live, rtol=1e-4, atol=1e-5)


def test_a_decoder_is_frozen_goes_where_the_distiller_goes_and_is_not_saved():
    teacher = masked_lm(2, 24)
    distiller = made(Objective(soft=Term(LogitKD(temperature=2.0))), {"default": None}, teacher_decoders={})
    saved = distiller.state_dict().keys()
    decoder = teacher.get_output_embeddings()
    distiller = made(
        Objective(soft=Term(LogitKD(temperature=2.0))), {"default": None}, teacher_decoders={"default": decoder}
    ).to(torch.float64)
    assert decoder.weight.dtype == torch.float64 and not decoder.weight.requires_grad
    assert distiller.state_dict().keys() == saved


def test_states_without_a_decoder_are_refused():
    with pytest.raises(ConfigError, match="no decoder was given"):
        restore({"hidden": {}, "attention": {}, "decoder_states": torch.zeros(1, 2, 3)}, None)


def test_a_head_that_is_no_linear_layer_is_refused_and_others_are_not():
    check_decoder(TASK, masked_lm(2, 24), "teacher.path=a", "float32")
    with pytest.raises(UserError, match="the head of teacher.path=b, 'mobilebert', is another; use cache=off"):
        check_decoder(TASK, masked_lm(2, 24, "mobilebert"), "teacher.path=b", "float32")
    check_decoder(TASK.without_outputs, masked_lm(2, 24, "mobilebert"), "teacher.path=b", "float32")
    with pytest.raises(UserError, match="with teacher.dtype=int8 that layer gives rounded ones; use cache=off"):
        check_decoder(TASK, masked_lm(2, 24), "teacher.path=a", "int8")
