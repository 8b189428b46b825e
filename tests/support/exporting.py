"""What exports of one process can share."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def operators_once() -> Iterator[None]:
    """Keep what torch makes anew for every export, and alike each time: its translations and its decompositions."""
    pytest.importorskip("onnxscript")
    from torch.onnx._internal.exporter import _decomp as tables
    from torch.onnx._internal.exporter._registration import ONNXRegistry as registry

    decompositions = functools.cache(tables.create_onnx_friendly_decomposition_table)
    with pytest.MonkeyPatch.context() as shared:
        shared.setattr(registry, "from_torchlib", staticmethod(functools.cache(registry.from_torchlib)))
        shared.setattr(
            tables,
            "create_onnx_friendly_decomposition_table",
            lambda operators: dict(decompositions(frozenset(operators))),
        )
        yield
