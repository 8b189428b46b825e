"""The optional packages that an export needs."""

from __future__ import annotations

from importlib.util import find_spec

from kdfeatures.errors import UserError

PACKAGES = ("onnx", "onnxruntime", "onnxscript")


def require_packages() -> None:
    """Raise UserError unless all packages of the extra `export` are installed."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise UserError(f"an export needs {', '.join(missing)}; pip install kdfeatures[export]")
