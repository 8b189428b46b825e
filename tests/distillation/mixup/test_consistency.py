"""Consistency against its formula, each text alone cut to its tokens, in other algebra than the code's."""

import pytest
import torch
from support import references
from support.tiny import tiny_batch, tiny_config

from kdfeatures.distillation import Mixup, Objective, Term
from kdfeatures.distillation.mixup.consistency import consistency
from kdfeatures.features import AttentionStates, Features
from kdfeatures.losses import HiddenMSE, LogitKD, RelationKL

SHARE, HEADS = 0.7, 2
LENGTHS = (7, 3, 5, 6)


def features(generator):
    made = Features()
    for layer in (1, 2):
        made.hidden[layer] = torch.randn(4, 7, 16, generator=generator, dtype=torch.float64)
    operands = torch.randn(3, 4, HEADS, 7, 8, generator=generator, dtype=torch.float64)
    made.attention[2] = AttentionStates(*operands, scale=0.3)
    return made


def bound(**options):
    objective = Objective(
        logits=LogitKD(),
        hidden=Term(HiddenMSE(), layers=[(1, 2), (2, 3)], weight=0.5),
        relations=Term(RelationKL(relation_heads=4), layers="final", weight=3.0),
        mixup=Mixup(consistency=0.1, **options),
    )
    return objective.bind(tiny_config("bert", layers=2, width=16, heads=2), tiny_config("bert", layers=3, width=24))


def expected(mixed, alone, mask):
    """The formula, text by text; hidden states have weight 0.5, relations 3."""

    def distance(target, real):
        hidden = sum(references.hidden_mse(mixed.hidden[n], target(alone.hidden[n]), real) for n in (1, 2))
        relations = sum(
            references.relation_kl(getattr(mixed.attention[2], of), target(getattr(alone.attention[2], of)), 4, real)
            for of in ("query", "key", "value")
        )
        return 0.5 * hidden + 3.0 * relations

    backwards = [3, 2, 1, 0]
    return SHARE * distance(lambda x: x, mask) + (1 - SHARE) * distance(lambda x: x[backwards], mask[backwards])


def test_value_and_gradient_follow_the_formula():
    generator = torch.Generator().manual_seed(1)
    mixed, alone = features(generator), features(generator)
    mask = tiny_batch(LENGTHS)["attention_mask"].bool()
    leaves = [*mixed.hidden.values(), mixed.attention[2].query, mixed.attention[2].key, mixed.attention[2].value]
    for leaf in leaves:
        leaf.requires_grad_(True)
    objective = bound()
    found = consistency(objective, mixed, alone, SHARE, mask)
    wanted = expected(mixed, alone, mask)
    torch.testing.assert_close(found, wanted)
    for one, other in zip(torch.autograd.grad(found, leaves), torch.autograd.grad(wanted, leaves), strict=True):
        torch.testing.assert_close(one, other)


def test_padding_has_no_part_in_it():
    generator = torch.Generator().manual_seed(2)
    mixed, alone = features(generator), features(generator)
    mask = tiny_batch(LENGTHS)["attention_mask"].bool()
    before = consistency(bound(), mixed, alone, SHARE, mask)
    alone.hidden[2][~mask] = 1e3
    alone.attention[2].key.transpose(1, 2)[~mask] = 1e3
    torch.testing.assert_close(consistency(bound(), mixed, alone, SHARE, mask), before)


def test_a_student_that_says_the_same_of_both_is_consistent():
    alone = features(torch.Generator().manual_seed(3))
    same = Features()
    same.hidden.update({n: states[:1].expand(4, -1, -1) for n, states in alone.hidden.items()})
    one = alone.attention[2]
    same.attention[2] = one._replace(query=one.query[:1], key=one.key[:1], value=one.value[:1])
    same.attention[2] = AttentionStates(*(x.expand(4, -1, -1, -1) for x in same.attention[2][:3]), scale=0.3)
    assert consistency(bound(), same, same, SHARE, torch.ones(4, 7, dtype=torch.bool)) == pytest.approx(0, abs=1e-12)


def test_weights_are_those_of_the_moment():
    generator = torch.Generator().manual_seed(4)
    mixed, alone = features(generator), features(generator)
    objective = bound()
    whole = consistency(objective, mixed, alone, SHARE, None)
    objective.weights |= {"hidden": 1.0, "relations": 6.0}
    torch.testing.assert_close(consistency(objective, mixed, alone, SHARE, None), 2 * whole)
