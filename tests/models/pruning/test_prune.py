import pytest
import torch
from support.shared_data import glue_task
from support.tiny import tiny_batch, tiny_classifier, tiny_config
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification

from kdfeatures.capture.families import encoder_of
from kdfeatures.models.pruning import PRUNABLE, prune_into
from kdfeatures.models.pruning.parts import layer_parts
from kdfeatures.models.students import StudentSpec, planned_config

RTE = glue_task("rte")
BATCHES = [tiny_batch() for _ in range(3)]


def trained(family="bert", *, layers=2):
    """A teacher whose attention is sharp, and whose biases and norms are not the constants of a fresh model."""
    torch.manual_seed(0)
    model = tiny_classifier(family, layers=layers)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def pruned(teacher, *, chosen=None, batches=BATCHES, **sizes):
    chosen = chosen or list(range(1, teacher.config.num_hidden_layers + 1))
    spec = StudentSpec(init="pruned", layers=len(chosen), **sizes)
    student = AutoModelForSequenceClassification.from_config(planned_config(spec, teacher.config, RTE)).eval()
    prune_into(student, teacher, batches, chosen)
    return student


@torch.no_grad()
def logits(model):
    return model(**BATCHES[0]).logits


@pytest.mark.parametrize("family", PRUNABLE)
def test_a_student_of_the_teachers_sizes_is_the_teacher(family):
    teacher = trained(family)
    student = pruned(teacher)
    assert torch.equal(logits(student), logits(teacher))
    assert all(torch.equal(a, b) for a, b in zip(student.parameters(), teacher.parameters(), strict=True))


@pytest.mark.parametrize("family", PRUNABLE)
def test_parts_without_effect_are_the_first_to_go_and_are_not_missed(family):
    # the teacher is the wide copy of a narrow one: a head and half of the neurons add nothing
    teacher = trained(family)
    with torch.no_grad():
        for parts in layer_parts(teacher):
            parts.output.weight[:, 6:12] = 0
            parts.down.weight[:, ::2] = 0
    student = pruned(teacher, heads=3, intermediate_size=24)
    torch.testing.assert_close(logits(student), logits(teacher), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("family", ["bert", "distilbert", "mpnet", "roberta-prelayernorm"])
def test_what_a_student_has_more_of_adds_nothing(family):
    teacher = trained(family)
    student = pruned(teacher, heads=2, intermediate_size=80)  # heads of 12 dimensions, of which 6 are free
    kept = pruned(teacher, heads=4)
    with torch.no_grad():
        for parts in layer_parts(kept):
            order = torch.cat([parts.output.weight[:, 6 * h : 6 * h + 6].norm().reshape(1) for h in range(4)])
            assert (order > 0).all()
        for parts in layer_parts(student):
            free = [*range(6, 12), *range(18, 24)]
            assert (parts.output.weight[:, free] == 0).all() and (parts.key.weight[free] == 0).all()
            assert (parts.query.weight[free] != 0).any()  # so that the free dimensions can be learned
            assert (parts.down.weight[:, 48:] == 0).all() and (parts.up.weight[48:] != 0).any()


def test_heads_of_twice_the_size_have_the_scores_of_those_kept():
    teacher = trained()
    student = pruned(teacher, heads=2)
    states = torch.randn(1, 5, 24)
    for own, theirs in zip(layer_parts(student), layer_parts(teacher), strict=True):
        of_own, of_theirs = _scores(own, states, 2), _scores(theirs, states, 4)
        kept = [min(range(4), key=lambda h, s=s: (of_theirs[h] - s).abs().max().item()) for s in of_own]
        assert kept[0] < kept[1]
        torch.testing.assert_close(of_own, of_theirs[kept], rtol=1e-4, atol=1e-4)


def test_a_head_of_half_the_size_keeps_the_scores_of_a_head_of_that_rank():
    teacher = trained()
    with torch.no_grad():
        for parts in layer_parts(teacher):
            for linear in (parts.query, parts.value):  # 3 of a head's 6 dimensions are used
                linear.weight.view(4, 6, 24)[:, 3:] = 0
                linear.bias.view(4, 6)[:, 3:] = 0
    student = pruned(teacher, heads=8)
    states = torch.randn(1, 5, 24)
    for own, theirs in zip(layer_parts(student), layer_parts(teacher), strict=True):
        torch.testing.assert_close(_scores(own, states, 8)[:4], _scores(theirs, states, 4), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(logits(student), logits(teacher), rtol=1e-3, atol=1e-3)


@torch.no_grad()
def _scores(parts, states, heads):
    query, key = (linear(states).view(5, heads, -1).transpose(0, 1) for linear in (parts.query, parts.key))
    return query @ key.mT / query.shape[-1] ** 0.5


@pytest.mark.parametrize("family", PRUNABLE)
def test_half_the_width_is_nearer_to_the_teacher_than_random_weights(family):
    teacher = trained(family)
    sizes = {"hidden_size": 12, "heads": 2, "intermediate_size": 24}
    student = pruned(teacher, **sizes)
    fresh = AutoModelForSequenceClassification.from_config(student.config).eval()
    wanted = logits(teacher)
    spread = (wanted - wanted.mean(0)).norm()
    assert (logits(student) - wanted).norm() < 0.5 * min(spread + 1, (logits(fresh) - wanted).norm())


def test_the_chosen_layers_are_those_of_a_teacher_that_has_no_others():
    teacher = trained(layers=4)
    student = pruned(teacher, chosen=[2, 4], heads=2)
    for own, layer in zip(layer_parts(student), [2, 4], strict=True):
        torch.testing.assert_close(own.up.weight, layer_parts(teacher)[layer - 1].up.weight)
    assert len(encoder_of(student).layers) == 2


def test_embeddings_as_wide_as_the_teacher_are_kept_whole_before_narrower_layers():
    config = tiny_config("electra")
    config.embedding_size = config.hidden_size  # so that the teacher needs no map between them, and the student does
    teacher = AutoModelForSequenceClassification.from_config(config).eval()
    student = pruned(teacher, hidden_size=12, heads=2)
    states = [model.electra.embeddings(BATCHES[0]["input_ids"]) for model in (student, teacher)]
    assert torch.equal(*states)
    mapped = student.electra.embeddings_project(states[0])
    columns = student.electra.embeddings_project.weight.argmax(1)
    assert torch.equal(mapped, states[1][..., columns])


def test_a_masked_language_model_keeps_its_tied_decoder():
    torch.manual_seed(0)
    teacher = AutoModelForMaskedLM.from_config(tiny_config("bert", layers=2)).eval()
    spec = StudentSpec(init="pruned", layers=2, hidden_size=12, heads=2)
    student = AutoModelForMaskedLM.from_config(planned_config(spec, teacher.config, RTE)).eval()
    prune_into(student, teacher, BATCHES, [1, 2])
    tables = student.bert.embeddings.word_embeddings.weight, student.cls.predictions.decoder.weight
    assert tables[0] is tables[1]
    wide = teacher.bert.embeddings.word_embeddings.weight
    assert all(any(torch.equal(column, other) for other in wide.T) for column in tables[0].T)
