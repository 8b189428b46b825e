"""The front door: what `import kdfeatures` offers, and that it changes nothing in the process."""

import ast
import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest
from support.imports import loaded_after

import kdfeatures as kd

PUBLIC = (
    "capture", "extract", "losses", "mapping", "Objective", "Term", "recipe", "Recipe", "DistillationTrainer",
    "StudentSpec", "distill", "finetune", "evaluate", "compare_runs", "compare_layers", "compare_heads", "RunResults",
)  # fmt: skip


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_are_listed_and_documented(name):
    assert name in dir(kd) and name in kd.__all__
    assert (getattr(kd, name).__doc__ or "").strip()


def test_every_name_that_is_offered_is_there_and_types_know_it():
    tree = ast.parse(Path(kd.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    for_types = {alias.asname for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert for_types | {"__version__"} == set(kd.__all__)
    for name in kd.__all__:
        assert getattr(kd, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'distil'"):
        _ = kd.distil


def test_the_version_is_that_of_the_installed_package():
    assert kd.__version__ == importlib.metadata.version("kdfeatures")


def test_types_are_announced():
    assert (Path(kd.__file__).parent / "py.typed").exists()


def test_capture_is_a_package_and_can_be_called():
    import kdfeatures.capture
    from kdfeatures.capture import capture

    assert kdfeatures.capture.capture is capture and callable(kd.capture)


def test_the_import_alone_loads_neither_torch_nor_transformers():
    loaded = loaded_after()["kdfeatures"]
    assert [name for name in ("torch", "transformers", "hydra") if name in loaded] == []


def test_losses_load_torch_and_no_more():
    heavy = {"torch._dynamo", "transformers", "omegaconf", "hydra", "datasets", "sklearn", "triton"}
    # torch itself loads some of them on some builds
    of_torch = heavy.intersection(loaded_after()["torch"])
    assert heavy.intersection(loaded_after()["kdfeatures.losses"]) == of_torch


def test_importing_everything_changes_nothing_in_the_process():
    code = """
import logging, random, warnings
import numpy, torch, transformers, datasets
import hydra, matplotlib.figure, scipy.optimize, sklearn.metrics  # what they change when imported is theirs
from transformers import Trainer

compiled = []
def backend(graph, inputs):
    compiled.append(graph)
    return graph
twice = torch.compile(lambda x: x * 2, backend=backend)
twice(torch.ones(2))

def state():
    return (
        torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled(), torch.initial_seed(),
        torch.backends.cuda.matmul.allow_tf32, torch.are_deterministic_algorithms_enabled(),
        transformers.logging.get_verbosity(), datasets.is_progress_bar_enabled(), random.getstate(),
        numpy.random.get_state()[1].tolist(), logging.getLogger().handlers[:], logging.getLogger().level,
        list(warnings.filters),
    )

before = state()
import kdfeatures as kd
for name in kd.__all__:
    getattr(kd, name)
assert state() == before
twice(torch.ones(2))
print(len(compiled))
"""
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert made.returncode == 0, made.stderr
    assert made.stdout.strip() == "1"
