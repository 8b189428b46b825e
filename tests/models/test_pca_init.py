import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from support.tiny import tiny_batch, tiny_classifier

from kdfeatures.capture.families import FAMILIES
from kdfeatures.models.pca_init import leading_directions, narrow_embeddings

RESIZABLE = [name for name, family in FAMILIES.items() if family.resizable]


def tables_of(model):
    modules = model.base_model.named_modules()
    return {name: module.weight for name, module in modules if isinstance(module, torch.nn.Embedding)}


def test_the_directions_of_one_table_are_its_principal_components():
    table = torch.randn(50, 9, generator=torch.Generator().manual_seed(0)) @ torch.diag(torch.arange(1.0, 10.0)) + 3
    found = leading_directions([table], 4)
    components = torch.from_numpy(PCA(4).fit(table.double().numpy()).components_.copy()).float()
    torch.testing.assert_close((components @ found).abs(), torch.eye(4), atol=1e-4, rtol=0)


def test_the_directions_of_several_tables_are_those_of_all_their_sums():
    generator = torch.Generator().manual_seed(1)
    tokens, positions = (torch.randn(rows, 6, generator=generator) * scale for rows, scale in ((20, 1), (7, 2)))
    sums = (tokens[:, None] + positions).flatten(0, 1)
    components = torch.from_numpy(PCA(3).fit(sums.double().numpy()).components_.copy()).float()
    found = leading_directions([tokens, positions], 3)
    torch.testing.assert_close((components @ found).abs(), torch.eye(3), atol=1e-4, rtol=0)


def test_no_other_table_of_that_width_keeps_more_of_the_inner_products():
    teacher, student = tiny_classifier("bert"), tiny_classifier("bert", width=12, heads=2)
    table = tables_of(teacher)["embeddings.word_embeddings"].detach()
    table[:, :12] *= 3
    table -= table.mean(0)
    for name, other in tables_of(teacher).items():
        if "word" not in name:
            torch.nn.init.zeros_(other)
    narrow_embeddings(student, teacher)
    gram = (table @ table.mT).double().numpy()
    values, vectors = np.linalg.eigh(gram)
    best = (vectors[:, -12:] * values[-12:]) @ vectors[:, -12:].T
    made = tables_of(student)["embeddings.word_embeddings"].detach()
    np.testing.assert_allclose((made @ made.mT).numpy(), best, atol=1e-4)


@pytest.mark.parametrize("family", RESIZABLE)
def test_every_table_of_the_teachers_width_is_narrowed_and_the_student_still_runs(family):
    teacher, student = tiny_classifier(family), tiny_classifier(family, width=12, heads=2)
    before = {name: table.clone() for name, table in tables_of(student).items()}
    narrow_embeddings(student, teacher)
    after, theirs = tables_of(student), tables_of(teacher)
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert any("word" in name or "tok" in name for name in changed)
    assert changed >= {name for name, table in theirs.items() if table.shape[1] == teacher.config.hidden_size}
    assert student(**tiny_batch()).logits.isfinite().all()


def test_layers_and_head_keep_their_weights():
    teacher, student = tiny_classifier("bert"), tiny_classifier("bert", width=12, heads=2)
    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    narrow_embeddings(student, teacher)
    changed = {name for name, tensor in student.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {f"bert.embeddings.{kind}_embeddings.weight" for kind in ("word", "position", "token_type")}
