import pytest
import torch

from kdfeatures.errors import ConfigError
from kdfeatures.features import OPERANDS, AttentionStates
from kdfeatures.losses import RelationKL, ValueRelation


def states(heads, width, seed, length=7):
    random = torch.Generator().manual_seed(seed)
    query, key, value = torch.randn(3, 3, heads, length, width, generator=random, dtype=torch.float64)
    return AttentionStates(query, key, value, 0.5)


def test_the_value_relation_of_minilm_is_one_relation_over_the_models_own_heads():
    student, teacher = states(4, 5, 1), states(4, 3, 2)
    value = ValueRelation()(student, teacher, None)
    assert value == RelationKL(relations=["value"])(student, teacher, None)
    torch.testing.assert_close(value, RelationKL(relations=["value"], relation_heads=4)(student, teacher, None))


def test_relations_are_summed():
    student, teacher = states(6, 4, 1), states(4, 9, 2)
    parts = [RelationKL(relations=[of], relation_heads=12)(student, teacher, None) for of in OPERANDS]
    torch.testing.assert_close(RelationKL(relation_heads=12)(student, teacher, None), sum(parts))


def test_relations_ignore_where_the_model_may_attend():
    student, teacher = states(4, 5, 1), states(4, 3, 2)
    diagonal = torch.eye(7, dtype=torch.bool).expand(3, 1, 7, 7)
    loss = RelationKL()
    assert loss(student._replace(allowed=diagonal), teacher, None) == loss(student, teacher, None)


def test_own_heads_of_different_counts_are_refused_with_the_common_divisor():
    message = r"^relation_heads=None compares .* student has 12 and the teacher 16; set it to a divisor of 128"
    with pytest.raises(ConfigError, match=message):
        RelationKL().check(12, 384, 16, 1024)
    with pytest.raises(ConfigError, match=r"student has 6 and the teacher 4; set it to a divisor of 12"):
        RelationKL()(states(6, 4, 1), states(4, 9, 2), None)


@pytest.mark.parametrize("heads", [8, 9])
def test_relation_heads_that_do_not_divide_a_width_are_refused(heads):
    message = rf"^relation_heads={heads} must divide .* 24 \(student\) and 36 \(teacher\); choose a divisor of 12"
    with pytest.raises(ConfigError, match=message):
        RelationKL(relation_heads=heads).check(6, 24, 4, 36)
    with pytest.raises(ConfigError, match=message):
        RelationKL(relation_heads=heads)(states(6, 4, 1), states(4, 9, 2), None)


def test_head_counts_and_widths_may_differ():
    RelationKL(relation_heads=24).check(12, 312, 12, 768)


@pytest.mark.parametrize("relations", [[], ["value", "value"], ["values"], "value"], ids=repr)
def test_relations_that_are_not_distinct_operands_are_refused(relations):
    with pytest.raises(ConfigError, match=r"^relations=.* must be a list of distinct names out of query, key, value"):
        RelationKL(relations=relations)


@pytest.mark.parametrize("heads", [0, -4])
def test_fewer_than_one_relation_head_is_refused(heads):
    with pytest.raises(ConfigError, match=f"^relation_heads={heads} must be at least 1; None keeps each model's"):
        RelationKL(relation_heads=heads)
