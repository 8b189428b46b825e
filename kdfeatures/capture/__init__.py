"""Hidden states and attention operands of a forward pass, taken by hooks while outputs stay bit-identical.

A row a family of encoders; attention that dispatches and attention that does not. Imports features and masking only.
"""

from kdfeatures.capture.context import capture, extract

__all__ = ["capture", "extract"]
