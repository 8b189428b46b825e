"""A step with several teachers against what each of its terms says by itself, live and cached."""

import pytest
import torch
from support.caching import small_cache
from support.runs_for_tests import PAIRS, small_dataset
from support.tiny import tiny_classifier
from transformers import DataCollatorWithPadding

from kdfeatures.alignment.per_teacher import ProjectionsByTeacher
from kdfeatures.alignment.projections import LinearProjections
from kdfeatures.cache import CachedCollator, CachedTeachers, needed, with_rows
from kdfeatures.capture.context import capture
from kdfeatures.data.synthetic import tokenizer
from kdfeatures.distillation.bound import BoundObjective
from kdfeatures.distillation.distiller import Distiller
from kdfeatures.distillation.term import BoundTerm
from kdfeatures.losses import HiddenMSE, LogitKD, RelationKL
from kdfeatures.mapping.pairs import DEFAULT_TEACHER, LayerPair

OF_B = (LayerPair(1, 4), LayerPair(2, 2))
SHARES = {DEFAULT_TEACHER: 0.25, "b": 0.75}


def terms():
    return {
        "logits": BoundTerm(LogitKD(temperature=2.0), 0.5),
        "hidden": BoundTerm(HiddenMSE(), 1.0, PAIRS, "sum"),
        "other": BoundTerm(HiddenMSE(), 2.0, OF_B, "sum", teacher="b"),
        "relations": BoundTerm(RelationKL(relation_heads=4), 0.1, (LayerPair(2, 4),), teacher="b"),
    }


def distiller(names=(), shares=SHARES, permuted=()):
    """A 2 x 16 student of teachers 3 x 24 and 4 x 32, whose classes are in the other order."""
    torch.manual_seed(0)
    main, other = tiny_classifier(layers=3, width=24, heads=4), tiny_classifier(layers=4, width=32, heads=4)
    rates = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    student = tiny_classifier(layers=2, width=16, heads=2, **rates)
    options = {"shared": False, "bias": True, "always": False}
    projections = ProjectionsByTeacher(
        {DEFAULT_TEACHER: LinearProjections(PAIRS, 16, 24, **options), "b": LinearProjections(OF_B, 16, 32, **options)}
    )
    chosen = {name: term for name, term in terms().items() if not names or name in names}
    objective = BoundObjective(chosen, projections, shares=shares)
    teachers, columns = {DEFAULT_TEACHER: main, "b": other}, {DEFAULT_TEACHER: [0, 1], "b": [1, 0]}
    return Distiller(student, teachers, objective, columns, permuted=permuted).train()


def batch():
    examples = small_dataset(5)
    return DataCollatorWithPadding(tokenizer())([examples[n] for n in range(5)])


def test_each_term_learns_from_its_own_teacher_and_the_logits_from_the_average():
    made, inputs = distiller(), batch()
    inputs.pop("labels")
    made(**inputs)
    mask, linear = inputs["attention_mask"], made.objective.projections.by_teacher
    with torch.no_grad(), capture(made.student, hidden=[0, 1, 2], attention=[2]) as own:
        logits = made.student(**inputs).logits
        given = {}
        for name, model in made.teachers.items():
            with capture(model, hidden=range(len(model.bert.encoder.layer) + 1), attention=[2, 3]) as features:
                given[name] = (model(**inputs).logits, features)
        with capture(made.teachers["b"], attention=[4]) as deepest:
            made.teachers["b"](**inputs)
        mixture = 0.25 * (given[DEFAULT_TEACHER][0] / 2).softmax(1) + 0.75 * (given["b"][0][:, [1, 0]] / 2).softmax(1)
        expected = {
            "logits": LogitKD(temperature=2.0)(logits, 2 * mixture.log()),
            "relations": RelationKL(relation_heads=4)(own.attention[2], deepest.attention[4], mask),
        }
        for term, name, pairs in (("hidden", DEFAULT_TEACHER, PAIRS), ("other", "b", OF_B)):
            values = []
            for pair in pairs:
                student, teacher = own.hidden[pair.student], given[name][1].hidden[pair.teacher]
                values.append(HiddenMSE()(linear[f"teacher_{name}"].of(pair)(student), teacher, mask))
            expected[term] = sum(values)
    assert made.parts.keys() == expected.keys()
    for term, value in expected.items():
        torch.testing.assert_close(made.parts[term], value, msg=term)


def test_student_and_all_projections_get_a_gradient_and_no_teacher_does():
    made = distiller()
    made(**batch()).loss.backward()
    without = [name for name, x in made.named_parameters() if x.grad is None and "classifier" not in name]
    assert without == []
    assert all(x.grad is None for model in made.teachers.values() for x in model.parameters())
    assert {name.split(".")[0] for name in made.state_dict()} == {"student", "objective"}
    assert any(name.startswith("objective.projections.by_teacher.teacher_b.") for name in made.state_dict())


def fails_when_run(module):
    module.register_forward_pre_hook(lambda *_: pytest.fail("this part of a teacher ran"))


def test_each_teacher_runs_only_as_deep_as_its_terms_need():
    made = distiller(names=("hidden", "other"))
    fails_when_run(made.teachers[DEFAULT_TEACHER].classifier)
    fails_when_run(made.teachers["b"].classifier)
    made(**batch())
    alone = distiller(names=("other",))
    fails_when_run(alone.teachers[DEFAULT_TEACHER])
    alone(**batch())


def test_a_teacher_without_a_share_runs_no_further_than_its_layers():
    made = distiller(names=("logits", "other"), shares={DEFAULT_TEACHER: 1.0, "b": 0.0})
    fails_when_run(made.teachers["b"].classifier)
    made(**batch())
    alone = distiller(names=("logits",), shares={DEFAULT_TEACHER: 1.0, "b": 0.0})
    fails_when_run(alone.teachers["b"])
    alone(**batch())
    single = Distiller(
        alone.student, alone.teacher, BoundObjective({"logits": terms()["logits"]}, torch.nn.Identity()), [0, 1]
    ).train()
    single(**batch())
    torch.testing.assert_close(alone.parts["logits"], single.parts["logits"])


def test_cached_features_of_all_teachers_give_the_loss_and_gradients_of_the_live_ones(tmp_path):
    made, examples = distiller(), small_dataset(12)
    found = {
        name: small_cache(tmp_path, model).features(examples, needed(made.objective, name))
        for name, model in made.teachers.items()
    }
    assert len(list(tmp_path.iterdir())) == 2
    rows = with_rows(examples)
    cached = CachedCollator(DataCollatorWithPadding(tokenizer()), CachedTeachers(found))([rows[n] for n in (3, 0, 11)])
    values = []
    for given in (cached, {name: x for name, x in cached.items() if name != "teacher_features"}):
        made.zero_grad()
        loss = made(**given).loss
        loss.backward()
        values.append([loss.detach(), *(x.grad.clone() for x in made.parameters() if x.grad is not None)])
    for one, other in zip(*values, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    none, columns = {DEFAULT_TEACHER: None, "b": None}, {DEFAULT_TEACHER: [0, 1], "b": [1, 0]}
    alone = Distiller(made.student, none, made.objective, columns).train()
    torch.testing.assert_close(alone(**cached).loss, values[0][0])


def test_a_permuted_teacher_is_compared_as_it_reads_the_text_before():
    made = distiller(names=("hidden", "other", "relations"), permuted=["b"])
    inputs = {name: x for name, x in batch().items() if name != "labels"}
    length = int(inputs["attention_mask"].sum(1).min())
    inputs = {name: x[:, :length] for name, x in inputs.items()}  # no padding, so that tokens need not begin again
    made(**inputs)
    plain = distiller(names=("hidden", "other", "relations"))
    turned = {name: x.roll(1, 0) for name, x in inputs.items()}
    with torch.no_grad(), capture(plain.student, hidden=[1, 2], attention=[2]) as own:
        plain.student(**inputs)
    with torch.no_grad(), capture(plain.teachers["b"], hidden=[2, 4], attention=[4]) as other:
        plain.teachers["b"](**turned)
    linear, mask = plain.objective.projections.by_teacher["teacher_b"], inputs["attention_mask"]
    expected = sum(
        HiddenMSE()(linear.of(pair)(own.hidden[pair.student]), other.hidden[pair.teacher], mask) for pair in OF_B
    )
    torch.testing.assert_close(made.parts["other"], expected)
    torch.testing.assert_close(
        made.parts["relations"], RelationKL(relation_heads=4)(own.attention[2], other.attention[4], mask)
    )
    plain(**inputs)
    torch.testing.assert_close(made.parts["hidden"], plain.parts["hidden"])
    assert made.parts["other"] != plain.parts["other"]


def test_checkpointing_gives_the_same_loss():
    made, inputs = distiller(), batch()
    plain = made(**inputs).loss
    made.activation_checkpointing_enable()
    torch.testing.assert_close(made(**inputs).loss, plain)


def test_all_teachers_follow_to_another_dtype_and_detach():
    made = distiller().to(torch.float64)
    assert {next(model.parameters()).dtype for model in made.teachers.values()} == {torch.float64}
    made.detach()
    for model in (made.student, *made.teachers.values()):
        assert all(not m._forward_hooks and not m._forward_pre_hooks for m in model.modules())
