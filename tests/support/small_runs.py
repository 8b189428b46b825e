"""Small models, texts and datasets as a Python user has them: no config, no folder."""

from __future__ import annotations

import torch
from datasets import Dataset
from torch import nn
from transformers import BertConfig, TrainingArguments
from transformers.modeling_outputs import SequenceClassifierOutput

from kdfeatures.data.synthetic import tokenizer

SIZES = {"hidden_size": 16, "num_attention_heads": 4, "intermediate_size": 32, "max_position_embeddings": 64}
TEXTS = ["the dog that barked slept", "a cat slept", "the cat that the dog saw ran", "dogs ran"] * 4


def bert_config(layers: int, **more) -> BertConfig:
    """Return a config of the generated tasks' vocabulary."""
    return BertConfig(vocab_size=len(tokenizer()), num_hidden_layers=layers, **{**SIZES, **more})


def sequence_data(*, mask: bool = True) -> Dataset:
    """Return encoded texts with labels, the text itself left over; without an attention_mask if not `mask`."""
    encoded = tokenizer()(TEXTS)
    columns = {"text": TEXTS, "input_ids": encoded["input_ids"], "label": [n % 2 for n in range(len(TEXTS))]}
    if mask:
        columns["attention_mask"] = encoded["attention_mask"]
    return Dataset.from_dict(columns)


def arguments(folder, **more) -> TrainingArguments:
    """Return ordinary TrainingArguments of two steps."""
    return TrainingArguments(
        str(folder), max_steps=2, per_device_train_batch_size=8, report_to="none", use_cpu=True, **more
    )


class BiLSTM(nn.Module):
    """A student that is no transformer: a classifier of two classes that knows no attention mask."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(tokenizer()), 16)
        self.lstm = nn.LSTM(16, 8, batch_first=True, bidirectional=True)
        self.classifier = nn.Linear(16, 2)

    def forward(self, input_ids, labels=None):
        states, _ = self.lstm(self.embedding(input_ids))
        return SequenceClassifierOutput(logits=self.classifier(states.mean(1)))


class OwnHead(nn.Module):
    """A class of one's own around an encoder, `self.bert`, with a head; it returns logits alone."""

    def __init__(self, bert: nn.Module) -> None:
        super().__init__()
        self.bert = bert
        self.head = nn.Linear(bert.config.hidden_size, 2)

    def forward(self, input_ids, attention_mask=None):
        return self.head(self.bert(input_ids, attention_mask=attention_mask).last_hidden_state[:, 0])


def changed(before: dict[str, torch.Tensor], model: nn.Module) -> bool:
    """Return whether training has moved any of the model's weights."""
    return any(not torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def snapshot(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return copies of the model's weights."""
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}
