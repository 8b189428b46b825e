"""Teachers and students of different families and tokenizers, held against alignment by hand."""

from itertools import product

import pytest
import torch
from support.aligned_by_hand import grouped_probabilities, groups_by_character, hidden_mse, kl_of, relations
from support.tiny import tiny_config
from support.tokenizer_kinds import TEXTS, tokenizer_of
from torch.testing import assert_close
from transformers import AutoModelForSequenceClassification

from kdfeatures import losses
from kdfeatures.alignment.hungarian import HeadMatches
from kdfeatures.capture.recorder import Recorder
from kdfeatures.distillation.distiller import Distiller
from kdfeatures.distillation.objective import Objective
from kdfeatures.distillation.term import Term
from kdfeatures.errors import ConfigError
from kdfeatures.features import Features
from kdfeatures.tokenization.encode_for_both import encode_for_both

# family and the kind of tokenizer that its checkpoints have
READERS = {
    "bert": "wordpiece uncased",
    "bert cased": "wordpiece cased",
    "distilbert": "wordpiece uncased",
    "electra": "wordpiece cased",
    "roberta": "byte-bpe",
    "modernbert": "byte-bpe",
    "xlm-roberta": "unigram",
    "albert": "unigram",
}
SHOWN = [text for text in TEXTS if len(text) > 1][:5]
PAIRS = list(product(READERS, READERS))
QUICK = [(teacher, list(READERS)[(n + 3) % 8]) for n, teacher in enumerate(READERS)]
LAST = [(2, 3)]


def model_of(reader, *, layers, width, heads, seed):
    tokenizer = tokenizer_of(READERS[reader])
    torch.manual_seed(seed)
    own = {"local_attention": 128} if reader == "modernbert" else {}  # windows: tests/alignment/tokens/test_groups.py
    config = tiny_config(reader.split()[0], layers=layers, width=width, heads=heads, num_labels=3, **own)
    for name in ("pad", "cls", "sep"):
        setattr(config, f"{name}_token_id", getattr(tokenizer, f"{name}_token_id"))
    config.vocab_size = len(tokenizer)
    for name in [name for name in vars(config) if "dropout" in name]:
        setattr(config, name, 0.0)
    model = AutoModelForSequenceClassification.from_config(config)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.15)
    return model


def distiller_of(teacher, student):
    models = (
        model_of(student, layers=2, width=24, heads=4, seed=1),
        model_of(teacher, layers=3, width=48, heads=4, seed=2),
    )
    objective = Objective(
        logits=losses.LogitKD(temperature=2.0),
        hidden=Term(losses.HiddenMSE(), layers=LAST),
        attention=Term(losses.AttentionKL(), layers=LAST),
        relations=Term(losses.RelationKL(relation_heads=6), layers=LAST),
    )
    return Distiller(*models, objective)


def batch_for(teacher, student, texts=SHOWN):
    return encode_for_both(texts, tokenizer_of(READERS[student]), tokenizer_of(READERS[teacher]))


def by_hand(distiller, teacher, student, texts=SHOWN):
    """Return the terms' values from each text alone, unpadded."""
    values = {name: [] for name in ("logits", "hidden", "attention", "relations")}
    for text in texts:
        encodings = [tokenizer_of(READERS[one])(text, return_offsets_mapping=True) for one in (student, teacher)]
        groups = groups_by_character(text, encodings)
        seen = []
        for model, encoding, layer in zip((distiller.student, distiller.teacher), encodings, LAST[0], strict=True):
            recorder = Recorder(model, hidden=[layer], attention=[layer])
            recorder.attach()
            inputs = {"input_ids": torch.tensor([encoding["input_ids"]])}
            features = Features()
            with torch.no_grad(), recorder.recording(features):
                logits = model(**inputs).logits[0]
            recorder.detach()
            states = features.attention[layer]
            seen.append((logits, features.hidden[layer][0], features.attention_probs(layer)[0], states))
        (logits_s, hidden_s, probs_s, states_s), (logits_t, hidden_t, probs_t, states_t) = seen
        soft = [(logits / 2).softmax(-1) for logits in (logits_s, logits_t)]
        values["logits"].append(4 * (soft[1] * (soft[1] / soft[0]).log()).sum())
        projection = distiller.objective.projections.of(distiller.objective.terms["hidden"].pairs[0])
        values["hidden"].append(hidden_mse(hidden_s, hidden_t, groups, projection))
        both = [grouped_probabilities(probs, groups, side) for side, probs in enumerate((probs_s, probs_t))]
        values["attention"].append(kl_of(*both))
        related = [
            [relations(getattr(states, of)[0], groups, side, 6) for side, states in enumerate((states_s, states_t))]
            for of in ("query", "key", "value")
        ]
        values["relations"].append(sum(kl_of(*both) for both in related))
    return {name: torch.stack(of_texts).mean() for name, of_texts in values.items()}


@pytest.mark.parametrize(
    ("teacher", "student"),
    [pytest.param(*pair, marks=[] if pair in QUICK else pytest.mark.slow) for pair in PAIRS],
)
def test_every_term_is_what_alignment_by_hand_gives_and_falls_in_training(teacher, student):
    distiller = distiller_of(teacher, student).train()
    distiller.student.eval()  # no dropout; the distiller still trains
    batch = batch_for(teacher, student)
    distiller(**batch)
    for name, expected in by_hand(distiller, teacher, student).items():
        assert_close(distiller.parts[name], expected, atol=1e-5, rtol=1e-4)
    optimizer = torch.optim.Adam([p for p in distiller.parameters() if p.requires_grad], lr=5e-3)
    first = dict(distiller.parts)
    for _ in range(12):
        optimizer.zero_grad()
        distiller(**batch).loss.backward()
        optimizer.step()
    distiller(**batch)
    for name, before in first.items():
        assert distiller.parts[name] < before, name


def test_a_text_counts_the_same_whoever_shares_its_batch():
    teacher, student = "roberta", "bert"
    distiller = distiller_of(teacher, student).train()
    distiller.student.eval()
    parts = []
    for texts in (SHOWN, *([text] for text in SHOWN)):
        distiller(**batch_for(teacher, student, texts))
        parts.append(dict(distiller.parts))
    for name, joint in parts[0].items():
        assert_close(joint, torch.stack([alone[name] for alone in parts[1:]]).mean(), atol=1e-6, rtol=1e-5)


def test_pieces_of_other_ids_give_the_result_of_one_tokenizer():
    # the teacher's table is the student's, turned round: the same pieces under other ids
    distiller = distiller_of("bert", "distilbert").train()
    distiller.student.eval()
    plain = tokenizer_of("wordpiece uncased")(SHOWN, padding=True, return_tensors="pt")
    loss = distiller(**plain).loss
    expected, gradient = dict(distiller.parts), _gradient(distiller, loss)
    batch = batch_for("bert", "distilbert")
    its = batch["teacher_inputs"]["main"]
    turned = len(tokenizer_of("wordpiece uncased")) - 1 - torch.arange(len(tokenizer_of("wordpiece uncased")))
    table = distiller.teacher.get_input_embeddings()
    table.weight.data = table.weight.data[turned]
    its["input_ids"] = turned[its["input_ids"]]
    loss = distiller(**batch).loss
    for name, value in expected.items():
        assert_close(distiller.parts[name], value, atol=1e-6, rtol=1e-5)
    assert_close(_gradient(distiller, loss), gradient, atol=1e-6, rtol=1e-4)


def _gradient(distiller, loss):
    distiller.zero_grad()
    loss.backward()
    return torch.cat([p.grad.flatten() for p in distiller.parameters() if p.grad is not None])


def test_ids_of_another_vocabulary_are_refused_instead_of_trained_on():
    distiller = distiller_of("roberta", "bert").train()
    batch = batch_for("roberta", "bert")
    del batch["teacher_inputs"]
    with pytest.raises(ConfigError, match="teacher 'main' have other vocabularies .* teacher_inputs .* same_ids=True"):
        distiller(**batch)
    distiller.same_ids = True
    assert distiller(**{**batch, "input_ids": batch["input_ids"].clamp(max=30)}).loss.isfinite()


def test_tables_that_are_padded_are_one_vocabulary():
    distiller = distiller_of("bert", "distilbert").train()
    distiller.teacher.config.vocab_size = -(-distiller.teacher.config.vocab_size // 64) * 64
    batch = batch_for("bert", "distilbert")
    del batch["teacher_inputs"]
    assert distiller(**batch).loss.isfinite()


@pytest.mark.parametrize(
    ("loss", "options", "told"),
    [
        (losses.AttentionScoreMSE(), {}, "compares scores before the softmax.*use AttentionKL"),
        (losses.AttentionKL(), {"heads": "relation"}, "splits queries and keys anew.*hungarian, mean or learned"),
    ],
)
def test_what_has_no_meaning_for_groups_is_refused(loss, options, told):
    models = [
        model_of("bert", layers=2, width=24, heads=4, seed=1),
        model_of("roberta", layers=3, width=48, heads=8, seed=2),
    ]
    terms = {"attention": Term(loss, layers=LAST, **options)}
    if not options:
        models[1] = model_of("roberta", layers=3, width=48, heads=4, seed=2)
    distiller = Distiller(*models, Objective(terms)).train()
    with pytest.raises(ConfigError, match=told):
        distiller(**batch_for("roberta", "bert"))


@pytest.mark.parametrize("heads", ["hungarian", "mean", "learned"])
def test_unequal_heads_are_brought_together_by_their_probabilities(heads):
    models = [
        model_of("bert", layers=2, width=24, heads=4, seed=1),
        model_of("roberta", layers=3, width=48, heads=8, seed=2),
    ]
    objective = Objective(attention=Term(losses.AttentionKL(), layers=LAST, heads=heads))
    distiller = Distiller(*models, objective).train()
    if heads == "hungarian":
        term = distiller.objective.terms["attention"]
        term.heads.fit({pair: HeadMatches([(0, 5), (1, 4), (2, 7), (3, 0)], [0.5] * 4) for pair in term.pairs})
    distiller.student.eval()
    batch = batch_for("roberta", "bert")
    distiller(**batch).loss.backward()
    with_noise = {**batch, "input_ids": batch["input_ids"].masked_fill(batch["attention_mask"] == 0, 7)}
    before = distiller.parts["attention"]
    distiller(**with_noise)
    assert before > 0 and torch.equal(before, distiller.parts["attention"])
