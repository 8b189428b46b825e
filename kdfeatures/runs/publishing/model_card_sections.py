"""The sections of a model card, from a run's results."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from kdfeatures.distillation.schedules import read_schedule
from kdfeatures.mapping.pairs import DEFAULT_TEACHER
from kdfeatures.runs.publishing.provenance import public_name
from kdfeatures.runs.results import NOT_SHARES, markdown, retained
from kdfeatures.runs.stage_configs import configs_of_stages
from kdfeatures.tasks.glue_sizes import is_partial, official_count
from kdfeatures.tasks.task import Task

CHOOSING = "validation"  # the split that Trainer scores checkpoints on
LABEL_LOSSES = {  # by a task's kind; that of all others is cross-entropy
    "multilabel": "Binary cross-entropy with each label",
    "relevance": "Binary cross-entropy with the relevance",
    "question": "Cross-entropy with start and end of the answer",
}
# Python that loads a model and asks it, where transformers has no pipeline for what it does
SNIPPETS = {
    "question-answering": """import torch
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{name}")
model = AutoModelForQuestionAnswering.from_pretrained("{name}")
inputs = tokenizer("Where is it?", "It is in the garden.", return_tensors="pt")
with torch.no_grad():
    output = model(**inputs)
start, end = output.start_logits.argmax(), output.end_logits.argmax()
print(tokenizer.decode(inputs["input_ids"][0, start : end + 1]))""",
    "sentence-similarity": """from sentence_transformers import SentenceTransformer

model = SentenceTransformer("{name}")
vectors = model.encode(["One text.", "Another text."])
print(model.similarity(vectors, vectors))""",
    "text-ranking": """from sentence_transformers import CrossEncoder

model = CrossEncoder("{name}")
print(model.predict([("A query.", "A text that answers it.")]))""",
}
EXAMPLES = {  # by the Hub's name for what a model does
    "text-classification": "{text}, truncation=True, max_length={length}",
    "token-classification": '"A sentence with words."',
    "fill-mask": 'f"A sentence with one {{model.tokenizer.mask_token}}."',
    "feature-extraction": '"A sentence."',
}


def story(results: Mapping[str, Any]) -> str:
    """Say what was made from what."""
    student = _size(results["student"])
    if results["recipe"] is None:
        return f"A {student} fine-tuned on {'labels' if results['labelled_examples'] else 'text'}."
    hub = results.get("hub")
    teacher = f"{_size(results['teacher'])} ({public_name(results['teacher']['path'], hub)})"
    others = [
        public_name(other["path"], hub) for other in results.get("teachers") or [] if other["name"] != DEFAULT_TEACHER
    ]
    beside = f" Further teachers: {', '.join(others)}." if others else ""
    if not results["mapping"]:
        return f"A {student}, recipe `{results['recipe']}`, with the teacher {teacher}.{beside}"
    opening = f"A {student} distilled from the {teacher} with recipe `{results['recipe']}`; "
    moving = dict.fromkeys(layer_map["rule"] for layer_map in results["maps"].values() if layer_map["epochs"])
    if moving:
        return f"{opening}student layers learn from teacher layers by the moving map `{'`, `'.join(moving)}`.{beside}"
    pairs = ", ".join(f"{s} from {t}" for s, t in results["mapping"])
    return f"{opening}student layers learn from teacher layers: {pairs} (0 is the embeddings).{beside}"


def snippet(pipeline: str, name: str, results: Mapping[str, Any], task: Task) -> str:
    """Return Python that loads the model and asks it."""
    if pipeline in SNIPPETS:
        return SNIPPETS[pipeline].format(name=name)
    text = '"A text."' if len(task.text) == 1 else '{"text": "One text.", "text_pair": "The other."}'
    asked = EXAMPLES[pipeline].format(text=text, length=results["config"]["data"]["max_length"])
    asked += ", top_k=None" if task.kind == "multilabel" else ""
    return f'from transformers import pipeline\n\nmodel = pipeline("{pipeline}", model="{name}")\nprint(model({asked}))'


def scores_table(results: Mapping[str, Any]) -> str:
    """Return the scores, beside the teacher's where there is one and with the share that is retained."""
    of_teacher = (results["teacher"] or {}).get("metrics", {})
    rows = []
    for split, metrics in results["student"]["metrics"].items():
        for metric, value in metrics.items():
            row = {"split": split, "metric": metric, "value": _number(value)}
            reference = of_teacher.get(split, {}).get(metric)
            if of_teacher:
                unknown = value is None or reference is None or metric in NOT_SHARES
                share = None if unknown else retained(value, reference)
                row["teacher"] = _number(reference)
                row["retained"] = "" if share is None else f"{100 * share:.1f}%"
            rows.append(row)
    return markdown(rows) if rows else "Nothing was scored: the model has no head for a task."


def training_text(results: Mapping[str, Any], task: Task) -> str:
    """Say what was minimised, stage by stage, and with which settings."""
    if results["recipe"] is None:
        of_classes = LABEL_LOSSES.get(task.kind, "Cross-entropy with the labels")
        of_labels = "The squared error to the scores" if task.outputs == "score" else of_classes
        return f"{of_labels if task.has_labels else 'Masked tokens'}; {_settings(results['config'])}."
    rows, settings = [], []
    for number, (name, config) in enumerate(configs_of_stages(results), 1):
        stage = f"{number} {name}" if name else ""
        of_stage = {"stage": stage} if stage else {}
        rows += [of_stage | _term(term, node, config, task) for term, node in config["losses"].items()]
        settings.append(f"{f'Stage {number}: ' if name else 'Trained with '}{_settings(config)}.")
    if results["config"]["balance"]["every"] is not None:
        settings.append("Weights were balanced by the terms' gradients, so those above are where they began.")
    return "\n\n".join([markdown(rows), " ".join(settings)])


def data_text(results: Mapping[str, Any], task: Task) -> str:
    """Say what it was trained on, how much of it, and with which seed; stage by stage where they differ."""
    hub = results.get("hub")
    runs = [(results, results["config"], task)]
    if results.get("stages"):
        configs = [config for _, config in configs_of_stages(results)]
        tasks = [Task.from_config(config["task"]) for config in configs]
        runs = list(zip(results["stages"], configs, tasks, strict=True))
    texts = [_trained_on(*run, hub) for run in runs]
    if len(set(texts)) == 1:
        return f"Trained on {texts[0]}, seed {results['seed']}."
    return " ".join(f"Stage {n}: {text}." for n, text in enumerate(texts, 1)) + f" Seed {results['seed']}."


def _trained_on(counts: Mapping[str, Any], config: Mapping[str, Any], task: Task, hub: Collection[str] | None) -> str:
    labelled, pool, copies = (counts.get(f"{of}_examples") or 0 for of in ("labelled", "pool", "augmented"))
    originals = counts["train_examples"] - pool - copies
    examples = f"{originals} examples"
    if task.has_labels and labelled:
        unused = f" and {originals - labelled} whose labels were not used" if originals > labelled else ""
        examples = f"{labelled} labelled examples{unused}"
    elif task.has_labels:
        examples += " without their labels"
    source = "generated by the package" if task.embedded else task.dataset
    if source is None and not task.files and config["data"]["path"] is not None:
        source = public_name(config["data"]["path"], hub)
    where = f" ({source}{f', {task.config}' if task.config else ''})" if source else ""
    added = f", {pool} unlabelled texts of {public_name(config['data']['pool'], hub=())}" if pool else ""
    return f"{examples} of {task.name}{where}{added}{f', {copies} altered copies of them' if copies else ''}"


def scored_examples(results: Mapping[str, Any], split: str) -> int | None:
    """Return how many examples of a split were scored; None for a run of a version that did not count them."""
    return results.get("examples", {}).get(split)


def limits_text(results: Mapping[str, Any], task: Task, language: str | None) -> str:
    """Say what is not known about the model."""
    config, splits = results["config"], list(results["student"]["metrics"])
    lines = [
        "English only." if language == "en" else "Its language is that of the data, which this card does not know.",
        f"It was trained for {task.name} alone; on other kinds of text nothing was measured.",
        f"Texts were cut after {config['data']['max_length']} tokens, in training and when it was scored.",
    ]
    if splits and not any(split.startswith("test") for split in splits):
        also = ""
        if config["trainer"]["load_best_model_at_end"]:
            where = "it, so that the score is too good" if CHOOSING in splits else CHOOSING
            also = f", and the checkpoint was chosen on {where}"
        lines.append(f"There is no test score: it was scored on {' and '.join(splits)} only{also}.")
    for split in splits:
        scored = scored_examples(results, split)
        if is_partial(task, split, scored):
            whole = official_count(task, split)
            lines.append(f"It was scored on {scored} of the {whole} examples of {split}, so that is no GLUE score.")
    if splits:
        lines.append("One run with one seed: how far the score of another seed would lie from it is not known.")
    lines.append("What is wrong or unfair in the data or in the pretrained model is likely in this one too.")
    lines.append(
        "Its licence is not known here: those of the pretrained model and the data decide; then set `license` above."
    )
    return "\n".join(f"- {line}" for line in lines)


def _term(name: str, node: Mapping[str, Any], config: Mapping[str, Any], task: Task) -> dict[str, str]:
    alternative = {"score": "regression", "labels": "multilabel"}.get(task.outputs)
    loss = node[alternative] if alternative is not None and node.get(alternative) else node
    row = {"term": name, "loss": _class_name(loss), "weight": _weight(node["weight"])}
    return row | {"layer map": _class_name(node["mapping"] or config["mapping"]) if "mapping" in node else ""}


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"  # results.json has null for NaN


def _class_name(node: Mapping[str, Any]) -> str:
    return f"`{node['_target_'].rsplit('.', 1)[-1]}`"


def _weight(value: Any) -> str:
    return str(read_schedule(value)) if isinstance(value, Mapping) else f"{value:g}"


def _settings(config: Mapping[str, Any]) -> str:
    trainer = config["trainer"]
    steps = trainer["max_steps"]
    length = f"{steps} steps" if steps > 0 else f"{trainer['num_train_epochs']:g} epochs"
    batch = f"batches of {trainer['per_device_train_batch_size']}"
    if trainer["tokens_per_batch"] is not None:
        batch = f"batches of up to {trainer['tokens_per_batch']} tokens"
    trained = f"{length}, {batch}, learning rate {trainer['learning_rate']:g} ({trainer['lr_scheduler_type']})"
    return trained + _mixing(config.get("mixup", {}))  # the config of a fine-tuned model has none


def _mixing(mixup: Mapping[str, Any]) -> str:
    if mixup.get("alpha") is None:
        return ""
    consistency = f", weight of consistency {_weight(mixup['consistency'])}" if mixup["consistency"] != 0 else ""
    return f", texts mixed two and two (alpha {mixup['alpha']:g}{consistency})"


def _size(model: Mapping[str, Any]) -> str:
    if model["layers"] is None:
        return model["model_type"]
    millions = model["parameters"] / 1e6
    return f"{model['layers']} x {model['hidden_size']} {model['model_type']} ({millions:.1f}M parameters)"
