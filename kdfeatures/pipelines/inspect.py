"""One page of what a student has in common with its teacher, layer by layer and head by head."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kdfeatures.alignment.tokens.spans import check_offsets
from kdfeatures.analysis.batches import pair_batches
from kdfeatures.analysis.html_page import write_page
from kdfeatures.analysis.report import (
    MEANINGS,
    Measured,
    draw_heads,
    draw_layers,
    matched,
    measure,
    pair_key,
    summary_of,
)
from kdfeatures.analysis.sentences import ShownSentence, attention_maps, check_page, example_sentences, own_sentences
from kdfeatures.config.settings import InspectRunSettings
from kdfeatures.errors import UserError
from kdfeatures.mapping.pairs import DEFAULT_TEACHER, LayerPair
from kdfeatures.models.configs import load_config
from kdfeatures.models.limits import check_inputs
from kdfeatures.models.load import load_trained, move
from kdfeatures.models.teachers import check_tokenizers, tokenizer_difference
from kdfeatures.models.tokenizers import load_tokenizer
from kdfeatures.pipelines.inspected import check_scores, head_count, inspected_examples, inspected_pairs
from kdfeatures.pipelines.rebuild_student import Before, rebuilt
from kdfeatures.runs.environment import versions
from kdfeatures.runs.folder import alone_in_output, begin_run, finished_results, open_output
from kdfeatures.runs.results import markdown, write_results
from kdfeatures.tasks.kinds.masked_lm import PlainTextTask
from kdfeatures.tokenization.teacher_columns import Tokenizers, is_one_to_one, of_teacher, without_teachers

logger = logging.getLogger(__name__)

PAGE = "index.html"
AUTO = "auto"  # before.path: made again from the run's results


@alone_in_output
def inspect(settings: InspectRunSettings, output_dir: Path) -> dict[str, Any]:
    """Write index.html, the PNGs in it and results.json; all input is checked before anything is measured."""
    task, data, shown = settings.task, settings.data, settings.inspect
    paths = {"teacher": settings.teacher, "student": settings.student}
    if settings.before not in (None, AUTO):
        paths["before"] = settings.before
    open_output(output_dir, settings.output.existing, settings.record)
    finished = finished_results(output_dir, settings.output.existing, settings.record)
    if finished is not None:
        return finished
    configs = {name: load_config(path, f"{name}.path") for name, path in paths.items()}
    pairs = inspected_pairs(settings, configs)
    check_scores(shown, configs)
    tokenizer, others = _tokenizers(paths)
    examples, written = inspected_examples(
        task, data, settings.split, tokenizer, others, count=shown.examples, seed=settings.seed
    )
    if others and "correlation" in shown.measures and not is_one_to_one(examples, DEFAULT_TEACHER):
        raise UserError(
            "inspect.measures holds correlation, which compares scores before the softmax, but student and teacher "
            "have other tokenizers and are compared by groups of tokens, which have none; set "
            "inspect.measures=[divergence,cka]."
        )
    sentences = [
        *own_sentences(shown.texts, tokenizer, others, max_length=data.max_length),
        *example_sentences(
            examples, tokenizer, others, texts=written, count=shown.sentences, longest=shown.sentence_tokens
        ),
    ]
    batches = pair_batches(examples, tokenizer, DEFAULT_TEACHER, others, batch_size=shown.batch_size)
    layers = {side: sorted({getattr(pair, side) for pair in pairs}) for side in ("teacher", "student")}
    heads = sum(len(of_side) * head_count(configs[side]) for side, of_side in layers.items())
    check_page(sentences, heads, figures=1 + len(pairs) * len(shown.measures), max_mib=shown.max_page_mib)
    models = {name: load_trained(path, f"{name}.path", PlainTextTask(), force=False) for name, path in paths.items()}
    for name, model in models.items():
        is_teacher = name == "teacher"
        ids = [(of.inputs.teacher if is_teacher else of.inputs.student)["input_ids"][0].tolist() for of in sentences]
        read = of_teacher(examples, DEFAULT_TEACHER) if is_teacher else without_teachers(examples)
        check_inputs(model, f"{name}.path={paths[name]}", [read, Dataset.from_dict({"input_ids": ids})])
    before = _before(settings, models)
    _ready([*models.values(), before.model])
    logger.info(f"Comparing layers and heads on {len(examples)} texts of {task.name} {settings.split}")
    measured = measure(
        models["student"], models["teacher"], before.model, batches, measures=shown.measures, pairs=pairs
    )
    maps = {
        "teacher": attention_maps(models["teacher"], sentences, layers["teacher"], "teacher"),
        "student": attention_maps(models["student"], sentences, layers["student"], "student"),
    }
    facts = {name: _described(paths[name], models[name]) for name in ("teacher", "student")}
    facts |= {
        "before": before.note,
        "texts": f"{len(examples)} of {task.name} {settings.split}, chosen with seed {settings.seed}; half fit the "
        "matching",
    }
    begin_run(output_dir, settings.output.existing, settings.record)
    _write(output_dir / PAGE, measured, pairs, shown.measures, sentences, maps, facts)
    summary = summary_of(measured)
    logger.info(f"\n{markdown(summary)}\n\nBefore: {before.note}\nOpen {output_dir / PAGE} in a browser.")
    results = _results(measured, before) | {"config": settings.record}
    write_results(output_dir, results)
    return results


def _tokenizers(paths: Mapping[str, str]) -> tuple[PreTrainedTokenizerBase, Tokenizers]:
    """Return the student's tokenizer, and by its name that of the teacher if it is another."""
    loaded = {name: load_tokenizer(path, f"{name}.path") for name, path in paths.items()}
    own, its = loaded["student"], loaded["teacher"]
    if "before" in loaded:
        check_tokenizers(own, loaded["before"], paths["before"], option="before.path", than="the student")
    difference = tokenizer_difference(own, its)
    if difference is None:
        return own, {}
    for name in ("student", "teacher"):
        check_offsets(loaded[name].is_fast, f"{name}.path={paths[name]}")
    logger.info(
        f"teacher.path={paths['teacher']} has another tokenizer than the student ({difference}): layers and heads are "
        "compared by the tokens that cover the same characters."
    )
    return own, {DEFAULT_TEACHER: its}


def _before(settings: InspectRunSettings, models: Mapping[str, PreTrainedModel]) -> Before:
    if "before" in models:
        return Before(models["before"], str(settings.before))
    if settings.before is None:
        return Before(None, "not asked for")
    before = rebuilt(settings.student, settings.teacher, settings.record["allow_targets"])
    if before.model is not None:
        return before
    return before._replace(note=f"not known: {before.note}; give before.path=FOLDER")


def _ready(models: Sequence[PreTrainedModel | None]) -> None:
    for model in models:
        if model is not None:
            move(model)


def _described(path: str, model: PreTrainedModel) -> str:
    config = model.config
    return (
        f"{path} ({config.model_type}, {config.num_hidden_layers} layers, {config.hidden_size} wide, "
        f"{head_count(config)} heads)"
    )


def _write(
    path: Path,
    comparison: Measured,
    pairs: Sequence[LayerPair],
    measures: Sequence[str],
    sentences: Sequence[ShownSentence],
    maps: Mapping[str, Mapping[int, list[str]]],
    facts: Mapping[str, str],
) -> None:
    picture = path.with_name("layers.png")
    layers = draw_layers(comparison, pairs, picture)
    data = {
        "before": comparison.heads_before is not None,
        "layers": [{"key": pair_key(pair), "student": pair.student, "teacher": pair.teacher} for pair in pairs],
        "measures": [{"name": name, "meaning": MEANINGS[name]} for name in measures],
        "heads": {name: draw_heads(comparison, name, path.parent) for name in measures},
        "sentences": [{"texts": sentence.texts, "tokens": sentence.tokens} for sentence in sentences],
        "maps": maps,
    }
    known = versions()
    footer = "Layers count from 1, heads from 0. kdfeatures {kdfeatures}, torch {torch}, transformers {transformers}."
    write_page(
        path,
        title="What the student has in common with its teacher",
        facts=facts,
        layers=layers,
        summary=summary_of(comparison),
        data=data,
        footer=footer.format(**known),
    )


def _results(comparison: Measured, before: Before) -> dict[str, Any]:
    layers = {"similarity": comparison.layers.similarity.tolist(), "null": comparison.layers.null.tolist()}
    if comparison.layers_before is not None:
        layers["before"] = comparison.layers_before.similarity.tolist()
    by_measure = {
        name: {
            pair_key(pair): matched(heads, comparison.before(name).get(pair))
            | {"matched": heads.matched, "matched_null": heads.matched_null, "any_pair": heads.any_pair}
            for pair, heads in by_pair.items()
        }
        for name, by_pair in comparison.heads.items()
    }
    return {"command": "inspect", "before": before.note, "layers": layers, "heads": by_measure, "versions": versions()}
