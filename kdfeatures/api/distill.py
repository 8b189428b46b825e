"""`kdfeatures.distill`: a whole distillation from Python, with what the command does and leaves behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from kdfeatures.api.calls import Call, Splits, TaskLike, call, overrides_of
from kdfeatures.api.recipes import recipe_names
from kdfeatures.config.compose import composed
from kdfeatures.config.load import distill_settings
from kdfeatures.config.terms.records import with_objective, with_terms
from kdfeatures.distillation.objective import Objective
from kdfeatures.distillation.recipe import Recipe
from kdfeatures.errors import ConfigError
from kdfeatures.models.students import StudentSpec
from kdfeatures.pipelines.distill import run_distillation
from kdfeatures.runs.run_results import RunResults

OF_OBJECTIVE = "objective"  # what a run without a recipe calls its own
Layers = str | Sequence[Sequence[int]]
Teacher = str | Path | None


def distill(
    task: TaskLike,
    *,
    output_dir: str | Path,
    teacher: Teacher | Mapping[str, str | Path] = None,
    student: StudentSpec | str | None = None,
    recipe: str | Recipe | Objective = "tinybert_joint",
    layers: Layers | None = None,
    dataset: Splits | None = None,
    data_path: str | Path | None = None,
    data: Mapping[str, Any] | None = None,
    trainer: Mapping[str, Any] | None = None,
    seed: int = 1,
    split: str = "validation",
    existing: str = "refuse",
    overrides: Sequence[str] = (),
) -> RunResults | None:
    """Distil a teacher into a student and score both, as `kdfeatures distill` does.

    Args:
        task: a name of conf/task such as "mrpc"; a mapping of a task's facts as conf/task/files.yaml has them (name,
            text, label, labels, metrics); or a kdfeatures.Task.
        output_dir: the run's folder: the student with its tokenizer, results.json, a model card, logits.
        teacher: folder or Hub id of a fine-tuned model; several as {name: path}, the first one the main teacher, each
            with the same share. None trains one, for tasks that the package generates.
        student: a StudentSpec, or a name of conf/student such as "tinybert4"; None is half of the teacher's layers.
        recipe: a name of conf/recipe; a Recipe whose terms were changed; or an Objective of one's own.
        layers: the layer map of all terms that have none of their own: a name or pairs (student, teacher layer).
        dataset: the data, {split: datasets.Dataset}, where they are in memory; they are kept as parquet in
            output_dir/data, so that the run can be resumed and inspected.
        data_path: a local copy of the task's data; None takes the Hub.
        data: more of conf/data, such as {"max_length": 64, "train_examples": 500}.
        trainer: of transformers.TrainingArguments, such as {"num_train_epochs": 1, "learning_rate": 3e-5}; of a recipe
            in stages for every stage, whatever it says itself.
        seed: of weights, batches and the choice of examples.
        split: what is reported.
        existing: what to do when output_dir holds a run: "refuse", "resume" or "overwrite".
        overrides: anything else in the words of the command line, such as ["cache=auto", "balance=shares"]; what an
            argument here says is refused.

    Returns:
        What results.json holds: `.score`, `.retained`, `.student`, `.teacher`; printed it is a table. Of several
        processes the first returns it, the others None.

    Raises:
        ConfigError: (UserError is one) before any training starts, naming what is wrong, its value and the remedy.
    """
    options = call(
        task,
        output_dir,
        dataset=dataset,
        data_path=data_path,
        seed=seed,
        split=split,
        existing=existing,
        data=data,
        trainer=trainer,
    )
    options = _with_layers(_with_student(_with_teachers(options, teacher), student), layers)
    objective = None
    if isinstance(recipe, Objective):
        objective = recipe
        options = Call({**options.choices, "recipe": None}, options.values)
    elif isinstance(recipe, Recipe):
        if recipe.name not in recipe_names():
            raise ConfigError(
                "has a name that conf/recipe does not know",
                argument="recipe",
                value=recipe.name,
                hint="give an Objective, or change what kdfeatures.recipe(name) returns",
            )
        options = Call({**options.choices, "recipe": recipe.name}, options.values)
    else:
        options = Call({**options.choices, "recipe": recipe}, options.values)
    config = composed(
        "distill", Path(output_dir), choices=options.choices, values=options.values, overrides=overrides_of(overrides)
    )
    config = _in_every_stage(config, trainer or {})
    terms = {}
    if objective is not None:
        config = with_objective({**config, "recipe_name": OF_OBJECTIVE}, objective)
    elif isinstance(recipe, Recipe):
        terms = {name: term for name, term in recipe.changes.items() if term is not None}
        config = with_terms(config, terms, {name: None for name in recipe.changes if name not in terms})
    settings = distill_settings(config, objective=objective, terms=terms)
    return run_distillation(settings, Path(output_dir))


def _in_every_stage(config: Mapping[str, Any], trainer: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config in which no stage of the recipe says otherwise than the caller."""
    stages = {
        name: {**stage, "trainer": {**stage["trainer"], **trainer}} if stage.get("trainer") else stage
        for name, stage in config["stages"].items()
    }
    return {**config, "stages": stages}


def _with_teachers(options: Call, teacher: Teacher | Mapping[str, str | Path]) -> Call:
    if not isinstance(teacher, Mapping):
        if teacher is not None and not isinstance(teacher, (str, Path)):
            raise ConfigError(
                f"must be a folder or Hub id, but is a {type(teacher).__name__}",
                argument="teacher",
                hint="save it with save_pretrained, or use DistillationTrainer(teacher_model=...)",
            )
        return options.with_values(teacher=None if teacher is None else {"path": str(teacher)})
    if not teacher:
        raise ConfigError("names no teacher", argument="teacher", value=teacher, hint="leave it out, or name one")
    (_, main), *others = teacher.items()
    return options.with_values(
        teacher={"path": str(main)}, teachers={name: {"path": str(path)} for name, path in others} or None
    )


def _with_student(options: Call, student: StudentSpec | str | None) -> Call:
    if isinstance(student, str):
        return Call({**options.choices, "student": student}, options.values)
    if student is None:
        return options
    if not isinstance(student, StudentSpec):
        raise ConfigError(
            "describes no student",
            argument="student",
            value=student,
            hint="give StudentSpec(layers=6), StudentSpec(path=...), or a name such as 'tinybert4'",
        )
    usual = {field.name: field.default for field in fields(StudentSpec)}
    return options.with_values(student={name: value for name, value in asdict(student).items() if value != usual[name]})


def _with_layers(options: Call, layers: Layers | None) -> Call:
    if layers is None:
        return options
    if isinstance(layers, str):
        return Call({**options.choices, "mapping": layers}, options.values)
    pairs = [list(pair) for pair in layers]
    return Call({**options.choices, "mapping": "explicit"}, options.values).with_values(mapping={"pairs": pairs})
