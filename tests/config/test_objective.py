import copy
import math

import pytest
from omegaconf import OmegaConf
from support.composing import bound, plain
from support.tiny import tiny_config

from kdfeatures.config.objective import fixed_pairs
from kdfeatures.errors import UserError

TEACHER = tiny_config("bert", layers=12, width=48, heads=3)
STUDENT = tiny_config("bert", layers=6, width=24, heads=3)
TINYBERT = plain("distill", "recipe=tinybert_joint")
EXPLICIT = plain("distill", "mapping=explicit")
MINILM = plain("distill", "recipe=minilm_joint")
MINILM2 = plain("distill", "recipe=minilmv2_joint")


def build(config, *, student=STUDENT, teacher=TEACHER, outputs="classes", **changes):
    """changes: values put into the config, `__` for a dot."""
    cfg = OmegaConf.create(config)
    for key, value in changes.items():
        OmegaConf.update(cfg, key.replace("__", "."), value)
    return bound(OmegaConf.to_container(cfg), student, teacher, outputs=outputs)[0]


def refused(*args, **options):
    with pytest.raises(UserError) as caught:
        build(*args, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_tinybert_compares_all_mapped_layers_but_the_attention_of_the_embeddings():
    made = build(TINYBERT)
    assert made.terms["logits"].pairs == ()
    assert made.terms["hidden"].pairs == ((0, 0), (1, 2), (2, 4), (3, 6), (4, 8), (5, 10), (6, 12))
    assert made.terms["attention"].pairs == made.terms["hidden"].pairs[1:]
    assert made.terms["hidden"].pair_reduction == "sum"


def test_pkd_averages_over_its_skipped_layers():
    term = build(plain("distill", "recipe=pkd")).terms["patience"]
    assert [pair.teacher for pair in term.pairs] == [2, 4, 6, 8, 10]
    assert (term.pair_reduction, term.weight) == ("mean", 100.0)


def test_weights_and_arguments_come_from_the_config():
    made = build(TINYBERT, losses__hidden__weight=0.25, losses__logits__temperature=4)
    assert {name: term.weight for name, term in made.terms.items()} == {"logits": 1, "hidden": 0.25, "attention": 1}
    assert made.terms["logits"].loss.temperature == 4


def test_a_term_may_have_its_own_mapping_and_only_its_pairs_are_projected():
    config = plain("distill", "+mapping@losses.hidden.mapping=final")
    made = build(config, losses__hidden__mapping__teacher_layer=11)
    assert made.terms["hidden"].pairs == ((6, 11),)
    assert len(made.terms["attention"].pairs) == 6
    assert set(made.projections.linear) == {"6_to_11"}


def test_a_pair_that_two_terms_compare_is_projected_once():
    config = plain("distill", "+loss@losses.extra=hidden_cosine")
    made, pairs = bound(config, STUDENT, TEACHER)
    assert len(pairs) == len(made.projections.linear) == 7


@pytest.mark.parametrize("loss", ["energy_map", "token_gram", "rkd_distance", "rkd_angle", "linear_cka"])
def test_losses_for_any_widths_get_no_projection(loss):
    config = plain("distill", "recipe=logits", f"+loss@losses.extra={loss}")
    made, pairs = bound(config, STUDENT, TEACHER)
    assert made.terms["extra"].pairs and pairs == () and not list(made.projections.parameters())
    beside = build(plain("distill", "recipe=tinybert_joint", f"+loss@losses.extra={loss}"))
    assert len(beside.projections.linear) == 7


def test_a_flow_needs_two_pairs_and_projects_all():
    config = plain("distill", "recipe=logits", "+loss@losses.flow=flow_mse")
    assert len(build(config).projections.linear) == len(build(config).terms["flow"].pairs) == 7
    told = refused(plain("distill", "recipe=logits", "+loss@losses.flow=flow_mse", "mapping=final"))
    assert told.startswith("losses.flow compares the step from one") and "has only the pair [6, 12]; give it" in told


@pytest.mark.parametrize("loss", ["reverse_kl", "jensen_shannon", "skew_kl", "skew_reverse_kl", "decoupled_kd"])
def test_every_loss_on_soft_classes_has_a_stand_in_for_a_regression(loss):
    made = build(plain("distill", "recipe=logits", f"loss@losses.logits={loss}"), outputs="score")
    assert type(made.terms["logits"].loss).__name__ == "LogitMSE"


def test_a_hidden_loss_that_does_not_say_whether_it_projects_is_refused(monkeypatch):
    monkeypatch.delattr("kdfeatures.losses.HiddenLoss.needs_projection")
    told = refused(TINYBERT)
    assert told == (
        "losses.hidden._target_=kdfeatures.losses.HiddenMSE must say whether it `needs_projection`; "
        "derive it from HiddenLoss."
    )


def test_a_regression_replaces_soft_targets_by_the_squared_distance():
    for config, name in ((TINYBERT, "SoftCrossEntropy"), (MINILM, "LogitKD")):
        assert type(build(config).terms["logits"].loss).__name__ == name
        assert type(build(config, outputs="score").terms["logits"].loss).__name__ == "LogitMSE"


@pytest.mark.parametrize("weight", [-1, math.nan, math.inf, True, None, "heavy"])
def test_a_weight_that_is_no_finite_number_is_refused_by_value(weight):
    told = refused(TINYBERT, losses__hidden__weight=weight)
    assert told == f"losses.hidden.weight={weight} must be a finite number that is not negative."


def test_weight_zero_is_allowed():
    assert build(TINYBERT, losses__hidden__weight=0).terms["hidden"].weight == 0


def test_another_way_to_join_pairs_is_refused_with_the_nearest():
    told = refused(TINYBERT, losses__hidden__over_pairs="means")
    assert told.startswith("losses.hidden.pair_reduction=means is unknown; did you mean 'mean'?")


def test_a_layer_out_of_range_is_refused_with_both_numbers():
    assert "teacher layer 14, but the teacher has 12 layers" in refused(EXPLICIT, mapping__pairs=[[1, 14]])
    assert "student layer 7 with teacher layer 1, but the student has 6" in refused(EXPLICIT, mapping__pairs=[[7, 1]])


def test_pairs_that_are_missing_or_no_pairs_are_asked_for():
    assert refused(EXPLICIT) == "mapping.pairs has no default; give mapping.pairs=..."
    assert "but holds 1; write for instance mapping.pairs=[[1,2],[2,4]]" in refused(EXPLICIT, mapping__pairs=[1, 2])


def test_a_flag_that_says_no_means_no():
    assert build(TINYBERT, mapping__embeddings="no").terms["hidden"].pairs[0] == (1, 2)


def test_a_wrong_value_of_a_terms_own_mapping_is_named_with_the_term():
    told = refused(MINILM, losses__value__mapping__teacher_layer="last")
    assert told.startswith("losses.value.mapping.teacher_layer: ") and "'last'" in told


@pytest.mark.parametrize("cfg", [TINYBERT, MINILM], ids=["tinybert", "minilm"])
def test_unequal_heads_are_refused_before_training_with_a_loss_that_works(cfg):
    student = tiny_config("bert", layers=6, width=24, heads=4)
    told = refused(cfg, student=student)
    assert "student has 4 heads and the teacher 3" in told and "recipe=minilmv2" in told
    build(MINILM2, losses__relations__relation_heads=12, student=student)


def test_relation_heads_that_divide_one_width_only_are_refused():
    told = refused(MINILM2, losses__relations__relation_heads=16)
    assert "heads=16" in told and "24 (student) and 48 (teacher); choose a divisor of 24" in told


def test_attention_of_the_embeddings_alone_is_refused():
    told = refused(EXPLICIT, mapping__pairs=[[0, 0]])
    assert told == "losses.attention compares attention, but the mapping pairs nothing but the embeddings."


def test_a_run_without_losses_is_refused():
    assert "has no losses; choose recipe=..." in refused(plain("distill", "recipe=hard", "~losses.labels"))


@pytest.mark.parametrize("field", ["weight", "pair_reduction", "mapping"])
def test_a_term_that_lacks_a_field_is_refused(field):
    config = copy.deepcopy(TINYBERT)
    del config["losses"]["hidden"][field]
    assert refused(config) == f"losses.hidden lacks {field}; add it with +losses.hidden.{field}=..."


def test_a_term_that_is_no_loss_is_refused():
    told = refused(TINYBERT, losses__hidden=5)
    assert told.startswith("losses.hidden=5 is no term; choose one with +loss@losses.hidden=")
    hard = plain("distill", "recipe=hard")
    hard["losses"]["labels"] = {"weight": 1.0}
    told = refused(hard, losses__labels___target_="kdfeatures.data.synthetic.tokenizer")
    assert told.startswith("losses.labels._target_=kdfeatures.data.synthetic.tokenizer is no loss of kdfeatures")


def test_a_mapping_is_validated_against_both_depths():
    config = plain("distill", "mapping=final")
    assert fixed_pairs(config["mapping"], "mapping", 6, 12, []) == ((6, 12),)
    config["mapping"]["teacher_layer"] = 20
    with pytest.raises(UserError, match="teacher layer 20, but the teacher has 12 layers"):
        fixed_pairs(config["mapping"], "mapping", 6, 12, [])


@pytest.mark.parametrize("family", ["deberta", "deberta-v2", "mpnet"])
def test_scores_of_a_model_with_relative_positions_are_compared(family):
    teacher = tiny_config(family, layers=12, width=48, heads=3)
    assert "attention" in build(TINYBERT, teacher=teacher).terms and "attention" in build(MINILM, teacher=teacher).terms


@pytest.mark.parametrize(("family", "options", "reason"), [
    ("deberta", {"talking_head": True}, "mixes its heads' scores"), ("funnel", {}, "pools tokens between its blocks"),
])  # fmt: skip
def test_scores_that_are_not_known_are_refused_before_training_and_relations_are_not(family, options, reason):
    teacher = tiny_config(family, layers=12, width=48, heads=3, **options)
    for cfg, term in ((TINYBERT, "attention"), (MINILM, "attention")):
        message = refused(cfg, teacher=teacher)
        assert f"losses.{term} compares attention scores, but '{family}' {reason}" in message
    assert "relations" in build(MINILM2, teacher=teacher, losses__relations__relation_heads=24).terms


def test_heads_and_width_are_those_of_the_attention_not_those_of_the_config():
    teacher = tiny_config("mobilebert", layers=12, width=24, heads=4)  # its attention is 16 wide
    assert "these are 24 (student) and 16 (teacher)" in refused(
        MINILM2, teacher=teacher, losses__relations__relation_heads=3
    )
