"""Models as files that run without torch: ONNX, and ONNX with weights in 8 bits.

They need the packages of the extra `export`; without these every function raises a UserError that says so.
"""

from kdfeatures.models.export.int8 import quantise
from kdfeatures.models.export.onnx import export_onnx
from kdfeatures.models.export.onnx_model import OnnxClassifier

__all__ = ["OnnxClassifier", "export_onnx", "quantise"]
