"""A copy of GLUE as its server sends it, models with a known answer, and what a zip says."""

import zipfile

import torch
from datasets import ClassLabel, Dataset, Features, Value
from support.shared_data import glue_task
from transformers import AutoModelForSequenceClassification, BertConfig

from kdfeatures.data.synthetic import tokenizer

ROWS = {"wnli": 146, "ax": 1104}


def glue_copy(folder, *, rows, order=None):
    for name in rows:
        task = glue_task(name)
        features = Features({column: Value("string") for column in task.text})
        features |= {"label": ClassLabel(names=list(task.labels)), "idx": Value("int32")}
        texts = [f"the dog {'slept ' * (row % 3)}here" for row in range(rows[name])]
        columns = {column: texts for column in task.text} | {"label": [-1] * rows[name], "idx": list(range(rows[name]))}
        made = Dataset.from_dict(columns, features=features)
        if order is not None:
            made = made.select(order)
        (folder / name).mkdir(parents=True)
        made.to_parquet(folder / name / "test-00000-of-00001.parquet")
    # a copy that, like many, lacks what has no labels
    (folder / "mnli").mkdir()
    made.to_parquet(folder / "mnli" / "train-00000-of-00001.parquet")
    return folder


def model(folder, labels, always):
    """Save a model that says class `always` to everything, its classes named in this order."""
    words = tokenizer()
    config = BertConfig(
        vocab_size=len(words),
        num_hidden_layers=1,
        hidden_size=8,
        num_attention_heads=1,
        intermediate_size=8,
        id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)},
    )
    made = AutoModelForSequenceClassification.from_config(config)
    torch.nn.init.zeros_(made.classifier.weight)
    made.classifier.bias.data = torch.eye(len(labels))[labels.index(always)]
    made.save_pretrained(folder)
    words.save_pretrained(folder)
    return str(folder)


def answers_in(file, name):
    with zipfile.ZipFile(file) as opened:
        return [line.split("\t")[1] for line in opened.read(f"{name}.tsv").decode().splitlines()[1:]]
