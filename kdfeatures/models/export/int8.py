"""Weights in 8 bits: dynamic quantisation by onnxruntime, which needs no data."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from kdfeatures.errors import UserError
from kdfeatures.files import unfinished
from kdfeatures.models.export.requirements import quiet, require_packages


def quantise(path: str | Path) -> Path:
    """Write NAME-int8.onnx beside NAME.onnx, and return its path.

    The weights of matrix products become integers with a scale for each output, embeddings integers with one scale;
    inputs of a product are rounded to 8 bits as they come, with one scale for the whole batch. So an answer depends a
    little on the texts that share the batch. Weights take 7 of the 8 bits: sums of two products then fit 16 bits on
    processors without VNNI instructions, which would cut them off otherwise.
    Raises UserError for a file that is not there.
    """
    require_packages()
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file to quantise; export_onnx writes one.")
    target = path.with_stem(f"{path.stem}-int8")
    with TemporaryDirectory() as folder, unfinished(target) as file, quiet():
        folded = Path(folder, "folded.onnx")
        quant_pre_process(path, folded, skip_symbolic_shape=True)
        quantize_dynamic(folded, file, per_channel=True, reduce_range=True, weight_type=QuantType.QInt8)
    return target
