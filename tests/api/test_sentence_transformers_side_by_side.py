"""A smaller embedding model in sentence-transformers' words and in ours: both blocks of the page run."""

import numpy as np
import pytest
import torch
from support.kind_runs import encoder
from support.pages import python_blocks
from support.shared_data import ROOT
from support.tagged import OTHERS

from kdfeatures.embeddings.folder import write_modules
from kdfeatures.embeddings.pooling import Pooling

sentence_transformers = pytest.importorskip("sentence_transformers")
PAGE = ROOT / "docs" / "coming_from" / "sentence_transformers.md"
THEIRS, OURS = python_blocks(PAGE, "The same job in both")
TEACHER = "sentence-transformers/all-MiniLM-L6-v2"
TEXTS = [" ".join(OTHERS[(n * step) % len(OTHERS)] for n in range(1, 6)) for step in range(1, 41)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("both")
    encoder(made / "teacher", layers=6)
    write_modules(made / "teacher", Pooling("mean", normalize=True), width=32, limit=48)
    return made


@pytest.fixture
def run(folder, monkeypatch):
    monkeypatch.chdir(folder)

    def run(block, **replaced):
        assert TEACHER in block
        code = block.replace(TEACHER, "teacher")
        for shown, small in replaced.values():
            assert shown in code
            code = code.replace(shown, small)
        exec(code, {"texts": TEXTS})

    return run


def likeness(student, teacher):
    return float(np.mean(np.sum(student * teacher, axis=1)))


def test_both_make_a_student_of_half_the_depth_that_is_nearer_to_the_teacher(folder, run):
    run(THEIRS, rate=("learning_rate=1e-4", "learning_rate=3e-3, use_cpu=True, report_to='none', disable_tqdm=True"))
    run(OURS, rate=('"learning_rate": 1e-4', '"learning_rate": 3e-3, "disable_tqdm": True'))
    teacher = sentence_transformers.SentenceTransformer("teacher", device="cpu")
    expected = teacher.encode(TEXTS)
    layers = teacher[0].auto_model.encoder.layer
    teacher[0].auto_model.encoder.layer = torch.nn.ModuleList(layers[number] for number in (1, 3, 5))
    begun = likeness(teacher.encode(TEXTS), expected)
    for name in ("theirs", "ours"):
        student = sentence_transformers.SentenceTransformer(name, device="cpu")
        assert student[0].auto_model.config.num_hidden_layers == 3
        assert likeness(student.encode(TEXTS), expected) > begun
    (tutorial,) = python_blocks(ROOT / "docs" / "tutorials" / "embeddings.md")
    exec(tutorial.replace('SentenceTransformer("small")', 'found = SentenceTransformer("ours")'), names := {})
    assert names["found"].shape == (2, 32)
