"""What exports of one process can share."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def operators_once() -> Iterator[None]:
    """Keep what torch makes anew for every export, and alike each time: its translations and its decompositions.

    Of a torch that has them elsewhere nothing is kept; exports then take their time.
    """
    pytest.importorskip("onnxscript")
    try:
        from torch.onnx._internal.exporter import _decomp as tables
        from torch.onnx._internal.exporter._registration import ONNXRegistry as registry

        made = functools.cache(tables.create_onnx_friendly_decomposition_table)
        translated = functools.cache(registry.from_torchlib)
    except (ImportError, AttributeError):
        yield
        return
    with pytest.MonkeyPatch.context() as shared:
        shared.setattr(registry, "from_torchlib", staticmethod(translated))
        shared.setattr(
            tables,
            "create_onnx_friendly_decomposition_table",
            lambda operators: dict(made(frozenset(operators))),
        )
        yield
