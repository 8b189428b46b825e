"""Mixed batches through student and teacher, against the same made by hand of a BERT's own parts."""

import pytest
import torch
from support import references
from support.tiny import tiny_batch, tiny_classifier

from kdfeatures.distillation import Distiller, Linear, Mixup, Objective, Term
from kdfeatures.errors import ConfigError
from kdfeatures.losses import HiddenMSE, LogitMSE, RelationKL

LENGTHS = (9, 5, 7)


@pytest.fixture(autouse=True)
def share(monkeypatch):
    monkeypatch.setattr(Mixup, "draw", lambda self: 0.7)
    return 0.7


def models():
    torch.manual_seed(0)
    dropouts = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    student, teacher = (tiny_classifier(layers=n, width=24, heads=4, **dropouts) for n in (2, 3))
    return student.double(), teacher.double()


def distiller(consistency=0.5, **terms):
    terms = terms or {
        "hidden": Term(HiddenMSE(), layers="final"),
        "relations": Term(RelationKL(), layers="final", weight=2.0),
        "logits": Term(LogitMSE(), weight=0.25),
    }
    return Distiller(*models(), Objective(terms, mixup=Mixup(consistency=consistency))).train()


def by_hand(model, batch, share=None):
    """Return hidden states and q, k, v of a BERT's last layer, and its logits; with a share of mixed embeddings."""
    bert, mask = model.bert, batch["attention_mask"].bool()
    states = bert.embeddings(input_ids=batch["input_ids"])
    if share is not None:
        order = list(range(len(mask)))[::-1]
        states, mask = share * states + (1 - share) * states[order], mask | mask[order]
    for layer in bert.encoder.layer:
        attention = layer.attention.self
        operands = [
            part(states).unflatten(-1, (4, 6)).transpose(1, 2)
            for part in (attention.query, attention.key, attention.value)
        ]
        states = layer(states, attention_mask=mask[:, None, None, :])
        states = states[0] if isinstance(states, tuple) else states
    return states, operands, model.classifier(bert.pooler(states)), mask


def test_the_loss_is_that_of_mixed_embeddings_made_by_hand(share):
    made, batch = distiller(), tiny_batch(LENGTHS)
    loss = made(**batch).loss
    student, its_operands, its_logits, either = by_hand(made.student, batch, share)
    with torch.no_grad():
        teacher, operands, logits, _ = by_hand(made.teacher, batch, share)
        alone, own_operands, _, real = by_hand(made.student, batch)

    def compared(target, target_operands, mask):
        relations = sum(
            references.relation_kl(s, t, 4, mask) for s, t in zip(its_operands, target_operands, strict=True)
        )
        return references.hidden_mse(student, target, mask), relations

    hidden, relations = compared(teacher, operands, either)
    values = {"hidden": hidden, "relations": relations, "logits": references.logit_mse(its_logits, logits)}
    order = [2, 1, 0]
    own = compared(alone, own_operands, real)
    partners = compared(alone[order], [x[order] for x in own_operands], real[order])
    values["consistency"] = share * (own[0] + 2 * own[1]) + (1 - share) * (partners[0] + 2 * partners[1])
    assert made.parts.keys() == values.keys()
    for name, value in values.items():
        torch.testing.assert_close(made.parts[name], value.detach(), msg=name)
    expected = hidden + 2 * relations + 0.25 * values["logits"] + 0.5 * values["consistency"]
    torch.testing.assert_close(loss, expected)
    trained = [parameter for parameter in made.student.parameters() if parameter.requires_grad]
    found = torch.autograd.grad(loss, trained, allow_unused=True)
    wanted = torch.autograd.grad(expected, trained, allow_unused=True)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)


def test_padding_does_not_change_the_loss():
    made, batch = distiller(), tiny_batch(LENGTHS)
    wider = {name: torch.nn.functional.pad(value, (0, 4)) for name, value in batch.items()}
    torch.testing.assert_close(made(**wider).loss, made(**batch).loss)


def test_without_consistency_the_student_runs_once():
    made, passes = distiller(consistency=0.0), []
    made.student.bert.register_forward_pre_hook(lambda *_: passes.append("pass"))
    made(**tiny_batch(LENGTHS)).loss.backward()
    assert passes == ["pass"] and "consistency" not in made.parts
    made = distiller()
    made.student.bert.register_forward_pre_hook(lambda *_: passes.append("pass"))
    made(**tiny_batch(LENGTHS)).loss.backward()
    assert len(passes) == 3


def test_the_weight_of_consistency_follows_its_schedule():
    made, batch = distiller(consistency=Linear(0.0, 0.5)), tiny_batch(LENGTHS)
    first = made(**batch).loss
    made.objective.advance(0.5)
    assert made.objective.scheduled() == {"weight/consistency": 0.25}
    torch.testing.assert_close(made(**batch).loss, first + 0.25 * made.parts["consistency"])


@torch.no_grad()
def test_evaluation_and_the_teacher_that_is_asked_apart_read_texts_one_by_one():
    made, batch = distiller(), tiny_batch(LENGTHS)
    student, teacher = models()
    assert torch.equal(made.eval()(**batch).logits, student(**batch).logits)
    assert torch.equal(made.teacher_outputs(**batch).logits, teacher(**batch).logits)


def test_labels_of_a_batch_change_nothing():
    made, batch = distiller(), tiny_batch(LENGTHS)
    torch.testing.assert_close(made(**batch, labels=torch.tensor([0, 1, 1])).loss, made(**batch).loss)


def test_what_cannot_be_mixed_is_refused():
    made, batch = distiller(), tiny_batch(LENGTHS)
    with pytest.raises(ConfigError, match="its features cannot be stored"):
        made(**batch, teacher_features={"hidden": {}, "attention": {}})
    with pytest.raises(ConfigError, match="have other tokenizers"):
        made(**batch, teacher_inputs={"main": batch})
    with pytest.raises(ConfigError, match="computes layers again in the backward pass"):
        made.activation_checkpointing_enable()
    made = distiller()
    made.student.activation_checkpointing_enable()
    with pytest.raises(ConfigError, match="computes layers again in the backward pass"):
        made(**batch)
    made = distiller()
    made.student.compile()
    with pytest.raises(ConfigError, match="torch.compile would compile each of them anew"):
        made(**batch)


@torch.no_grad()
def test_a_detached_distiller_leaves_its_models_as_they_were():
    made, batch = distiller(), tiny_batch(LENGTHS)
    made.detach()
    assert not made.student.bert._forward_pre_hooks
    assert not made.student.bert.encoder.layer[0]._forward_pre_hooks
    made.student(**batch)
