"""Models as files that run without torch: ONNX, and ONNX with weights in 8 bits.

They need the packages of the extra `export`; without these every function raises a UserError that says so.
"""

from kdfeatures.export.classifier import OnnxClassifier
from kdfeatures.export.int8 import quantise
from kdfeatures.export.model import export_onnx

__all__ = ["OnnxClassifier", "export_onnx", "quantise"]
