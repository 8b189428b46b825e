"""kdfeatures inspect: one page of what a student has in common with its teacher, layer by layer and head by head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from omegaconf import DictConfig, OmegaConf
from transformers import PreTrainedModel

from kdfeatures.analysis.batches import text_batches
from kdfeatures.analysis.html_page import write_page
from kdfeatures.analysis.report import MEANINGS, Measured, draw_heads, draw_layers, key_of, matched, measure, summary_of
from kdfeatures.analysis.sentences import Sentence, attention_maps, check_page, example_sentences, own_sentences
from kdfeatures.config.inspection import check_scores, head_count, inspect_settings, inspected_examples, inspected_pairs
from kdfeatures.config.schema import DataConfig, PathConfig, section
from kdfeatures.errors import UserError
from kdfeatures.mapping.rules import LayerPair
from kdfeatures.models.load import load_config, load_tokenizer, load_trained
from kdfeatures.models.max_length import check_positions
from kdfeatures.models.teachers import check_tokenizers
from kdfeatures.pipelines.rebuild_student import Before, rebuilt
from kdfeatures.runs.folder import finished_results, open_output
from kdfeatures.runs.results import markdown, versions, write_results
from kdfeatures.tasks.masked_lm import PlainTextTask
from kdfeatures.tasks.task import Task

PAGE = "index.html"
AUTO = "auto"  # before.path: made again from the run's results


def run(cfg: DictConfig, output_dir: Path) -> dict[str, Any]:
    """Write index.html, the PNGs in it and results.json; all input is checked before anything is measured."""
    task, data = Task.from_config(OmegaConf.to_container(cfg.task)), section(cfg, "data", DataConfig)
    settings = inspect_settings(cfg)
    paths = _paths(cfg)
    open_output(output_dir, cfg.existing)
    done = finished_results(output_dir, cfg)
    if done is not None:
        return done
    if cfg.existing == "overwrite":
        for old in output_dir.glob("heads_*.png"):  # of layers that may not be mapped now
            old.unlink()
    configs = {name: load_config(path, f"{name}.path") for name, path in paths.items()}
    pairs = inspected_pairs(cfg, configs)
    check_scores(settings, configs)
    tokenizer = load_tokenizer(paths["teacher"], "teacher.path")
    for name in paths.keys() - {"teacher"}:
        option = f"{name}.path"
        check_tokenizers(tokenizer, load_tokenizer(paths[name], option), paths[name], option=option)
    examples = inspected_examples(task, data, cfg.split, tokenizer, count=settings.examples, seed=cfg.seed)
    sentences = [
        *own_sentences(settings.texts, tokenizer, max_length=data.max_length),
        *example_sentences(examples, tokenizer, count=settings.sentences, longest=settings.sentence_tokens),
    ]
    batches = text_batches(examples, tokenizer, batch_size=settings.batch_size)
    layers = {side: sorted({getattr(pair, side) for pair in pairs}) for side in ("teacher", "student")}
    heads = sum(len(own) * head_count(configs[side]) for side, own in layers.items())
    check_page(sentences, heads, figures=1 + len(pairs) * len(settings.measures), max_mib=settings.max_page_mib)
    models = {name: load_trained(path, f"{name}.path", PlainTextTask(), force=False) for name, path in paths.items()}
    ids = Dataset.from_list([{"input_ids": sentence.inputs["input_ids"][0].tolist()} for sentence in sentences])
    for name, model in models.items():
        check_positions(model, f"{name}.path={paths[name]}", [examples, ids])
    before = _before(cfg, paths, models)
    _ready([*models.values(), before.model])
    print(f"Comparing layers and heads on {len(examples)} texts of {task.name} {cfg.split}", flush=True)
    found = measure(
        models["student"], models["teacher"], before.model, batches, measures=settings.measures, pairs=pairs
    )
    maps = {side: attention_maps(models[side], sentences, own) for side, own in layers.items()}
    facts = {name: _described(paths[name], models[name]) for name in ("teacher", "student")}
    facts |= {
        "before": before.note,
        "texts": f"{len(examples)} of {task.name} {cfg.split}, chosen with seed {cfg.seed}; half fit the matching",
    }
    _write(output_dir / PAGE, found, pairs, settings.measures, sentences, maps, facts)
    summary = summary_of(found)
    print(f"\n{markdown(summary)}\n\nBefore: {before.note}\nOpen {output_dir / PAGE} in a browser.")
    results = _results(found, before) | {"config": OmegaConf.to_container(cfg, resolve=True)}
    write_results(output_dir, results)
    return results


def _paths(cfg: DictConfig) -> dict[str, str]:
    """Return the folders that the user has named, by the option's name."""
    paths = {name: section(cfg, name, PathConfig).path for name in ("teacher", "student", "before")}
    for name in ("teacher", "student"):
        if paths[name] is None:
            raise UserError(f"inspect compares a student with its teacher: give {name}.path=FOLDER_OR_HUB_ID.")
    return {name: path for name, path in paths.items() if path is not None and (name, path) != ("before", AUTO)}


def _before(cfg: DictConfig, paths: Mapping[str, str], models: Mapping[str, PreTrainedModel]) -> Before:
    if "before" in models:
        return Before(models["before"], paths["before"])
    if cfg.before.path is None:
        return Before(None, "not asked for")
    made = rebuilt(paths["student"], paths["teacher"])
    return made if made.model is not None else made._replace(note=f"not known: {made.note}; give before.path=FOLDER")


def _ready(models: Sequence[PreTrainedModel | None]) -> None:
    for model in models:
        if model is not None:
            model.to("cuda" if torch.cuda.is_available() else "cpu")


def _described(path: str, model: PreTrainedModel) -> str:
    config = model.config
    return (
        f"{path} ({config.model_type}, {config.num_hidden_layers} layers, {config.hidden_size} wide, "
        f"{head_count(config)} heads)"
    )


def _write(
    path: Path,
    found: Measured,
    pairs: Sequence[LayerPair],
    measures: Sequence[str],
    sentences: Sequence[Sentence],
    maps: Mapping[str, Mapping[int, list[str]]],
    facts: Mapping[str, str],
) -> None:
    picture = path.with_name("layers.png")
    described = draw_layers(found, pairs, picture)
    data = {
        "before": found.heads_before is not None,
        "layers": [{"key": key_of(pair), "student": pair.student, "teacher": pair.teacher} for pair in pairs],
        "measures": [{"name": name, "meaning": MEANINGS[name]} for name in measures],
        "heads": {name: draw_heads(found, name, path.parent) for name in measures},
        "sentences": [{"text": sentence.text, "tokens": sentence.tokens} for sentence in sentences],
        "maps": maps,
    }
    known = versions()
    footer = "Layers count from 1, heads from 0. kdfeatures {kdfeatures}, torch {torch}, transformers {transformers}."
    write_page(
        path,
        title="What the student has in common with its teacher",
        facts=facts,
        layers=(picture, described),
        summary=summary_of(found),
        data=data,
        footer=footer.format(**known),
    )


def _results(found: Measured, before: Before) -> dict[str, Any]:
    layers = {"similarity": found.layers.similarity.tolist(), "null": found.layers.null.tolist()}
    if found.layers_before is not None:
        layers["before"] = found.layers_before.similarity.tolist()
    heads = {
        name: {
            key_of(pair): matched(own, found.heads_before and found.heads_before[name][pair])
            | {"matched": own.matched, "matched_null": own.matched_null, "any_pair": own.any_pair}
            for pair, own in by_pair.items()
        }
        for name, by_pair in found.heads.items()
    }
    return {"command": "inspect", "before": before.note, "layers": layers, "heads": heads, "versions": versions()}
