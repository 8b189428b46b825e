"""A torch model as an ONNX file, with the axes of batch and length left open."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kdfeatures.errors import UserError, first_line
from kdfeatures.evaluation.predict import output_logits
from kdfeatures.files import unfinished
from kdfeatures.models.export.onnx_model import OnnxClassifier
from kdfeatures.models.export.requirements import quiet, require_packages
from kdfeatures.models.limits import position_count
from kdfeatures.models.tokenizers import limited

FILE = "model.onnx"
TOLERANCE = 1e-4  # of logits, relative to the largest where that is above 1
TRACED = (3, 8)  # B, L. A size of 1 would be taken for a constant
CHECKED = ((1, 5), (1, 8), (4, 19), (2, 33))
LARGEST = 2**31  # bytes: a file of protobuf cannot hold more


def export_onnx(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: str | Path) -> Path:
    """Write model.onnx, config and tokenizer to `folder`, and return the file's path. The model stays as it is.

    Inputs are what the tokenizer makes and the model takes, int64 (B, L); the output is `logits`, float32, (B, C) or
    (B, L, C); the vectors of texts, (B, D), and start and end of an answer, (B, L, 2), too. By torch.export, which
    proves that no other size went into the graph; and the file is then held against the model on padded batches of
    other shapes. Raises UserError when either fails, and for a model above 2 GiB.
    """
    require_packages()
    folder = Path(folder)
    cpu_model = copy.deepcopy(model).cpu().float().eval()
    parameters = inspect.signature(cpu_model.forward).parameters
    names = [name for name in tokenizer.model_input_names if name in parameters]
    size = weight_bytes(cpu_model)
    if size >= LARGEST:
        raise UserError(f"the model's weights take {size / 2**30:.1f} GiB, but a single ONNX file holds less than 2")
    folder.mkdir(parents=True, exist_ok=True)
    with unfinished(folder / FILE) as file:
        _write(cpu_model, names, file)
        _check(cpu_model, names, OnnxClassifier(file))
    cpu_model.config.save_pretrained(folder)
    limited(tokenizer, model).save_pretrained(folder)
    return folder / FILE


def weight_bytes(model: nn.Module) -> int:
    """Return what a model's parameters take, shared ones once."""
    return sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())


class _Logits(nn.Module):
    def __init__(self, model: PreTrainedModel, names: Sequence[str]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *inputs: Tensor) -> Tensor:
        return output_logits(self.model(**dict(zip(self.names, inputs, strict=True))))


def _write(model: PreTrainedModel, names: Sequence[str], file: Path) -> None:
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    batch, length = torch.export.Dim("batch"), torch.export.Dim("length")
    try:
        with quiet():
            program = torch.onnx.export(
                _Logits(model, names).eval(),
                tuple(_batch(model, names, *TRACED).values()),
                input_names=list(names),
                output_names=["logits"],
                dynamic_shapes=(({0: batch, 1: length},) * len(names),),
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # whatever in a model's code cannot be traced
        cause = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"torch cannot export this {model.config.model_type} model to ONNX: {cause[0]}") from error
    assert program is not None  # as dynamo=True has it
    # every node carries the lines of source it came from, with the folders of this machine
    ClearMetadataAndDocStringPass()(program.model)
    program.save(file, external_data=False)


@torch.no_grad()
def _check(model: PreTrainedModel, names: Sequence[str], exported: OnnxClassifier) -> None:
    positions = position_count(model)
    for size, length in CHECKED:
        if positions is not None and length > positions:
            continue
        batch = _batch(model, names, size, length)
        expected = output_logits(model(**batch)).numpy()
        try:
            actual = exported(**batch).logits.numpy()
        except Exception as error:  # onnxruntime has no common class for what a graph may raise
            raise _differs(model, size, length, first_line(error)) from error
        worst = float(np.abs(actual - expected).max())
        if not worst <= TOLERANCE * max(1.0, float(np.abs(expected).max())):
            raise _differs(model, size, length, f"logits differ by {worst:.2g}")


def _differs(model: PreTrainedModel, size: int, length: int, how: str) -> UserError:
    return UserError(
        f"the ONNX file of this {model.config.model_type} model does not answer as the model does, on {size} texts of "
        f"up to {length} tokens: {how}; nothing was written"
    )


def _batch(model: PreTrainedModel, names: Sequence[str], size: int, length: int) -> dict[str, Tensor]:
    """Return texts of random tokens in two segments, (size, length), each a token shorter than the one before."""
    generator = torch.Generator().manual_seed(size * length)
    ids = torch.randint(model.config.vocab_size, (size, length), generator=generator)
    places = torch.arange(length).expand(size, length)
    mask = (places < length - torch.arange(size)[:, None].clamp(max=length - 1)).long()
    segments = (places >= length // 2).long() if getattr(model.config, "type_vocab_size", 0) > 1 else 0 * ids
    ids = ids.masked_fill(mask == 0, model.config.pad_token_id or 0)
    return {name: {"input_ids": ids, "attention_mask": mask, "token_type_ids": segments}[name] for name in names}
