"""An ONNX file in the place of the torch model that it was made from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase
from transformers.modeling_outputs import ModelOutput, SequenceClassifierOutput

from kdfeatures.errors import UserError
from kdfeatures.evaluation.predict import predict_logits
from kdfeatures.models.export.requirements import require_packages


class OnnxClassifier(nn.Module):
    """Runs an exported classifier on the CPU with onnxruntime, with as many threads as torch has now.

    Takes a padded batch by name, (B, L) each, and returns `.logits`, (B, C) or (B, L, C) in float32, as a torch model
    does; so it serves wherever a model only answers: kdfeatures.evaluation.predict, the kinds of tasks,
    kdfeatures.models.costs.
    Raises UserError for a file that is not there, and for a batch that lacks an input.
    """

    device = torch.device("cpu")

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        require_packages()
        import onnxruntime

        if not Path(path).is_file():
            raise UserError(f"{path}: no such file; kdfeatures export writes model.onnx and model-int8.onnx.")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        # its threads would go on spinning after a pass, at the cost of whatever is timed next
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.path = Path(path)
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.inputs = [entry.name for entry in self.session.get_inputs()]

    def forward(self, **batch: Tensor) -> ModelOutput:
        missing = [name for name in self.inputs if name not in batch]
        if missing:
            raise UserError(f"{self.path} takes {missing[0]}, which the batch lacks; use the tokenizer beside it.")
        (logits,) = self.session.run(["logits"], {name: batch[name].numpy() for name in self.inputs})
        return SequenceClassifierOutput(logits=torch.from_numpy(logits))

    def logits(self, dataset: Dataset, tokenizer: PreTrainedTokenizerBase, batch_size: int) -> np.ndarray:
        """Return float32 logits (examples, C) on an encoded split, in its order."""
        return predict_logits(self, dataset, tokenizer, batch_size=batch_size, title=self.path.name)
