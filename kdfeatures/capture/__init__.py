"""Hidden states and attention operands of a forward pass, taken by hooks while outputs stay bit-identical.

A row a family of encoders; attention that dispatches and attention that does not. Imports features and errors only.
The package can be called as its function `capture` is: `kd.capture(model, hidden=[1])`.
"""

import functools
import sys
from types import ModuleType
from typing import Any

from kdfeatures.capture.context import capture, extract
from kdfeatures.capture.recorder import Recorder

__all__ = ["Recorder", "capture", "extract"]


class _CallablePackage(ModuleType):
    """`kdfeatures.capture` is this package for who imports from it, and a function for who has `import kdfeatures`."""

    @functools.wraps(capture)
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return capture(*args, **kwargs)


sys.modules[__name__].__class__ = _CallablePackage
