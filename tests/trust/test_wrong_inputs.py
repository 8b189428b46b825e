"""Every option of every command with values it cannot have: one line, no traceback, nothing written.

The values are made from what the dataclasses declare, so a new option is attacked as soon as it is there.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any, get_origin, get_type_hints

import hydra
import pytest
import yaml
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from support.composing import compose
from support.tiny import tiny_classifier
from support.wrong_values import NOTHING, arguments_of, fields_of, wrong_values

from kdfeatures.analysis.settings import InspectSettings
from kdfeatures.benchmark.search.settings import SearchOptions
from kdfeatures.benchmark.settings import GridSettings
from kdfeatures.cache.settings import CacheSettings
from kdfeatures.cli.commands import (
    cache,
    compare,
    demo,
    distill,
    evaluate,
    explain,
    export,
    finetune,
    glue,
    inspect,
    push,
    search,
    submission,
)
from kdfeatures.cli.main import main
from kdfeatures.config import load, options
from kdfeatures.config.hydra_errors import explained
from kdfeatures.config.option_errors import option_line
from kdfeatures.config.paths import conf_dir
from kdfeatures.config.training import TrainerRanges
from kdfeatures.data.augmentation.settings import AugmentationSettings
from kdfeatures.data.settings import DataSettings
from kdfeatures.data.synthetic import tokenizer
from kdfeatures.errors import UserError
from kdfeatures.models.encoders import EncoderSpec
from kdfeatures.models.students import StudentSpec
from kdfeatures.models.teachers import OtherTeacherSettings, TeacherSettings
from kdfeatures.ranges import Range
from kdfeatures.tasks.sections import Reading, Windows
from kdfeatures.tasks.task import Task

EVERY = 1 if os.environ.get("TRUST") else 7  # case is tried; all by `make trust`
NAMES = {0: "unacceptable", 1: "acceptable"}  # of task=agreement
OF_DISTILL: dict[str, tuple[type, ...]] = {
    "data": (DataSettings,), "student": (StudentSpec,), "teacher": (TeacherSettings,), "trainer": (TrainerRanges,),
    "teacher.model": (EncoderSpec,),
}  # fmt: skip
# of each command: its module, the dataclass of its options, those of its sections, and what a call of it needs
COMMANDS: dict[str, tuple[Any, type, dict[str, tuple[type, ...]], tuple[str, ...]]] = {
    "finetune": (finetune, options.FinetuneOptions,
                 {"data": (DataSettings,), "model": (EncoderSpec,), "trainer": (TrainerRanges,)}, ()),
    "distill": (distill, options.DistillOptions, OF_DISTILL, ("student.layers=2",)),
    "explain": (explain, options.DistillOptions, {}, ("student.layers=2", "output_dir=out")),
    "cache": (cache, options.CacheOptions,
              {"data": (DataSettings,), "student": (StudentSpec,), "teacher": (TeacherSettings,),
               "cache": (CacheSettings,), "more": (load._MoreLayers,)}, ("teacher.path=MODEL",)),
    "evaluate": (evaluate, options.EvaluateOptions,
                 {"data": (DataSettings,), "model": (load._ScoredModel,)}, ("model.path=MODEL",)),
    "export": (export, options.ExportOptions,
               {"data": (DataSettings,), "model": (load._ScoredModel,)}, ("model.path=MODEL",)),
    "inspect": (inspect, options.InspectOptions, {"data": (DataSettings,), "inspect": (InspectSettings,)},
                ("teacher.path=MODEL", "student.path=MODEL")),
    "compare": (compare, options.CompareOptions, {}, ("runs=MODEL",)),
    "demo": (demo, options.DemoOptions, {}, ()),
    "submission": (submission, options.SubmissionOptions, {}, ()),
    "push": (push, options.PushOptions, {}, ("run=MODEL", "repository=me/it")),
    "glue": (glue, options.DistillOptions, {"": (GridSettings,)}, ("tasks=[agreement]",)),
    "search": (search, options.DistillOptions, {"": (GridSettings,), "search": (SearchOptions,)},
               ("tasks=[agreement]",)),
}  # fmt: skip
CHECKED_BEFORE = ("output_dir", "existing")  # of the line itself; see test_a_wrong_call_says_one_line


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tiny_classifier(layers=4, id2label=NAMES).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv)
    yield
    assert list(tmp_path.iterdir()) == [], "a refused call has written something"


def cases_of(command: str) -> Iterator[str]:
    """Yield one wrong override after another."""
    _, kind, sections, _ = COMMANDS[command]
    for name, hint, allowed in fields_of(kind):
        if name in CHECKED_BEFORE:
            continue
        yield from (f"{name}={value}" for value in wrong_values(hint, allowed))
        yield from (f"~{name}",) if hint == options.Section else (f"+{name}.sub=1",)
    for section, kinds in sections.items():
        prefix = f"{section}." if section else ""
        for name, hint, allowed in (field for part in kinds for field in fields_of(part)):
            yield from (f"++{prefix}{name}={value}" for value in wrong_values(hint, allowed))
            yield f"++{prefix}{name}x=1" if section else f"{name}x=1"
            yield f"++{prefix}{name}.sub.sub=1"
        if section:
            yield from (f"{section}=1", f"{section}=[1]", f"{section}=null")


def cases_of_targets() -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the overrides that choose a file of conf/ which makes an object, and a wrong one for its arguments."""
    for group, place in (("loss", "losses.extra"), ("mapping", "mapping"), ("projection", "projection"),
                         ("heads", "heads")):  # fmt: skip
        for file in sorted((conf_dir() / group).glob("*.yaml")):
            node = yaml.safe_load(file.read_text(encoding="utf-8"))
            chosen = (f"+loss@losses.extra={file.stem}",) if group == "loss" else (f"{group}={file.stem}",)
            for name, hint in arguments_of(node["_target_"]) if "_target_" in node else ():
                if name in node:
                    yield from ((chosen, f"{place}.{name}={value}") for value in wrong_values(hint, None))
            yield chosen, f"+{place}.unheard_of=1"
            yield chosen, f"{place}._target_=os.getcwd"
            yield chosen, f"{place}._target_=null"
            if group == "loss":
                for weight in ("x", "nan", "inf", "-1", "null", "[1]", "{a: 1}"):
                    yield chosen, f"{place}.weight={weight}"
                yield chosen, f"{place}=null"
            if group == "loss" and "mapping" in node:
                for key, value in (("mapping", "last"), ("mapping", "[1]"), ("teacher", "nobody"),
                                   ("pair_reduction", "median"), ("pair_reduction", "null")):  # fmt: skip
                    yield chosen, f"{place}.{key}={value}"


def cases_of_chosen_sections() -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield overrides that choose a section or make one, and a wrong one for what is in it."""
    for chosen, place, kind in (
        (("augmentation=tinybert",), "augmentation", AugmentationSettings),
        (("cache=auto",), "cache", CacheSettings),
        (("+teachers.b={path: MODEL}",), "teachers.b", OtherTeacherSettings),
    ):
        for name, hint, allowed in fields_of(kind):
            yield from ((chosen, f"++{place}.{name}={value}") for value in wrong_values(hint, allowed))
        yield chosen, f"++{place}.unheard_of=1"
    chosen = ("balance=shares",)
    for name, hint, allowed in (
        ("every", int, Range(1, 1e18)), ("momentum", float, Range(0, 1, below=True)),
        ("limit", float, Range(1, 1e30)), ("shares", dict[str, float], None),
    ):  # fmt: skip
        values = [value for value in wrong_values(hint, allowed) if (name, value) != ("shares", NOTHING)]
        yield from ((chosen, f"balance.{name}={value}") for value in values)
    for share in ("nan", "inf", "-1", "0", "x", "[1]", "null"):
        yield chosen, f"balance.shares={{hidden: {share}}}"
    yield chosen, "balance.shares={nobody: 1}"
    yield ("balance=off",), "balance.every=5"
    chosen = ("mixup=embeddings",)
    for name, hint, allowed in (("alpha", float, Range(0, 1e18, above=True)), ("consistency", float, Range(0, 1e18))):
        yield from ((chosen, f"mixup.{name}={value}") for value in wrong_values(hint, allowed))
    yield chosen, "mixup.consistency={schedule: linear, start: 0, end: -1}"
    yield chosen, "mixup.consistency={schedule: linear}"
    yield chosen, "+mixup.unheard_of=1"
    yield ("mixup=off",), "mixup.alpha=1"
    for number in ("nan", "inf", "x", "null", "[1]", "{a: 1}", "true"):
        for kind in ("linear", "cosine"):
            yield (), f"losses.logits.weight={{schedule: {kind}, start: {number}, end: 1}}"
            yield (), f"losses.logits.weight={{schedule: {kind}, start: 1, end: {number}}}"
        yield (), f"losses.logits.weight={{schedule: list, values: [1, {number}]}}"
        if number != "[1]":
            yield (), f"losses.logits.weight={{schedule: list, values: {number}}}"
        yield (), f"losses.logits.weight={{schedule: {number}, start: 1, end: 0}}"
        yield (), f"losses.logits.weight={number}"
    for node in ("{schedule: linear, start: 1}", "{schedule: list, values: []}", "{start: 1, end: 0}", "{}",
                 "{schedule: linear, start: -1, end: 0}", "{schedule: list, values: [1], start: 1}"):  # fmt: skip
        yield (), f"losses.logits.weight={node}"
        yield (), f"losses.logits.temperature={node}"
    yield (), "losses.logits.temperature={schedule: linear, start: 0, end: 1}"


def cases_of_stages() -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield what a stage may not say: all that a run may not, and what only stages know."""
    chosen = ("+stages={first: {}, second: {trainer: {max_steps: 3}}}",)
    for section, kinds in OF_DISTILL.items():
        for name, hint, allowed in (field for part in kinds for field in fields_of(part)):
            values = [value for value in wrong_values(hint, allowed) if value != NOTHING]  # null: as in other stages
            yield from ((chosen, f"++stages.second.{section}.{name}={value}") for value in values)
            yield chosen, f"++stages.second.{section}.{name}x=1"
    for flag in ("each_pair", "born_again"):
        yield from ((chosen, f"+stages.second.{flag}={value}") for value in ("x", "1", "null", "[true]", "{a: 1}"))
    yield chosen, "+stages.first.born_again=true"
    for node in ("null", "1", "x", "[1]", "{unheard_of: 1}", "{losses: 1}", "{losses: {hidden: 1}}", "{trainer: 1}",
                 "{mapping: last}", "{mapping: {_target_: os.getcwd}}", "{freeze_below: 0}", "{freeze_below: x}",
                 "{freeze_below: 9}", "{student: 1}", "{losses: {logits: {weight: -1}}}", "{stages: {}}"):  # fmt: skip
        yield chosen, f"stages.second={node}"
    for place in ("losses", "trainer", "projection", "heads", "balance", "mixup", "augmentation"):
        yield from ((chosen, f"+stages.second.{place}={value}") for value in ("1", "x", "[1]", "{unheard_of: 1}"))


def cases_of_tasks() -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield what the facts of a task may not be, for a task of each kind that has no data here."""
    hints = get_type_hints(Task)
    plain = {name: _without_tuples(hint) for name, hint in hints.items() if name not in ("reading", "windows")}
    for task in ("agreement", "mrpc", "stsb", "go_emotions", "squad", "ud_ewt", "stsb_embedding", "text"):
        chosen = (f"task={task}",)
        node = yaml.safe_load((conf_dir() / "task" / f"{task}.yaml").read_text(encoding="utf-8"))
        for name in node:
            if name in plain:
                # one text column may be given alone, and named by a number
                one_name = ("1", "x") if name in ("text", "labels", "metrics") else ()
                values = [value for value in wrong_values(plain[name], None) if value not in (NOTHING, *one_name)]
                yield from ((chosen, f"task.{name}={value}") for value in values)
        yield from ((chosen, f"task.{name}=[nope]") for name in ("metrics",) if node[name])
        yield chosen, "task.kind=nope"
        yield chosen, "+task.unheard_of=1"
        for name, section in (("reading", Reading), ("windows", Windows)):
            for field, hint, _ in fields_of(section) if name in node else ():
                yield from ((chosen, f"task.{name}.{field}={value}") for value in wrong_values(hint, None))
                yield from ((chosen, f"task.{name}.{field}={value}") for value in ("-1", "nan") if hint is not bool)
            if name in node:
                yield from ((chosen, f"task.{name}={value}") for value in ("1", "[1]", "{}", "null"))
    for field, value in (("files.train", "[1]"), ("files.train", "{a: 1}"), ("files.nope", "x.csv"), ("files", "x"),
                         ("files", "1"), ("delimiter", "''"), ("delimiter", "[a]"), ("delimiter", "abc"),
                         ("encoding", "nope"), ("encoding", "1"), ("quotes", "x"), ("labels", "x"),
                         ("labels", "[a, a]"), ("labels", "[a]"), ("text", "[a, b, c]"), ("text", "[]"),
                         ("metrics", "[]"), ("splits.train", "x"), ("dataset", "x")):  # fmt: skip
        of_files = ("task=files", "task.name=t", "task.text=[a]", "task.label=b", "task.labels=[x,y]",
                    "task.metrics=[accuracy]", "task.files.train=t.csv")  # fmt: skip
        yield of_files, f"++task.{field}={value}"


def _without_tuples(hint: Any) -> Any:
    return list[str] if get_origin(hint) is tuple else dict | None if "Mapping" in str(hint) else hint


def answer(command: str, cfg: DictConfig, override: str) -> str | None:
    """Return the line that a command refuses an override with, None when it takes it; anything else is raised."""
    OmegaConf.set_struct(cfg, True)
    try:
        ConfigLoaderImpl._apply_overrides_to_config(OverridesParser.create().parse_overrides([override]), cfg)
    except Exception as error:  # the command puts all that Hydra raises into a line
        return explained(error, command, [override])
    try:
        COMMANDS[command][0].check(cfg)
    except UserError as error:
        return option_line(error)
    return None


def attack(command: str, cases: list[tuple[tuple[str, ...], str]], model: str) -> list[str]:
    """Return what went wrong: tracebacks, lines that are several, and values that were taken."""
    module_needs = COMMANDS[command][3]
    wrong = []
    for chosen, override in cases:
        needed = tuple(part.replace("MODEL", model) for part in (*module_needs, *chosen))
        cfg = compose(command, *needed)
        try:
            with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):  # as a command has it
                told = answer(command, cfg, override)
        except Exception as error:
            wrong.append(f"{command} {override}: {type(error).__name__}: {error}")
            continue
        if told is None:
            wrong.append(f"{command} {override}: was taken")
        elif not told or "\n" in told:
            wrong.append(f"{command} {override}: {told}")
    return wrong


@pytest.mark.parametrize("command", COMMANDS)
def test_no_option_takes_what_its_type_and_range_exclude(command, model):
    cases = [((), override) for override in cases_of(command)]
    assert len(cases) > 10
    cases = cases[::EVERY]
    assert attack(command, cases, model) == []


def test_no_argument_of_a_loss_map_projection_or_head_alignment_takes_another_type(model):
    assert attack("distill", list(cases_of_targets())[::EVERY], model) == []


@pytest.mark.parametrize("cases", [cases_of_chosen_sections, cases_of_stages, cases_of_tasks])
def test_no_chosen_section_stage_or_task_takes_what_it_cannot_mean(model, cases):
    assert attack("distill", list(cases())[::EVERY], model) == []


def test_there_are_more_than_1500_cases():
    assert sum(1 for command in COMMANDS for _ in cases_of(command)) + sum(1 for _ in cases_of_targets()) > 1500


def test_every_section_of_a_command_is_attacked():
    named = {name for _, _, sections, _ in COMMANDS.values() for name in sections}
    # by the test before, or by tests of their own
    otherwise = "task losses teachers stages mapping heads projection balance mixup augmentation before".split()
    for command, (_, kind, _, _) in COMMANDS.items():
        of_command = {name for name, hint, _ in fields_of(kind) if hint == options.Section}
        assert of_command - {*otherwise} - named == set(), command


WRONG_CALLS = [
    ("distill", "output_dir=[a]"), ("distill", "output_dir=1"), ("distill", "output_dir="),
    ("distill", r"output_dir='a \${b}'"), ("distill", "existing=x"), ("distill", "mapping=[1]"),
    ("distill", "mapping=1"), ("distill", "~mapping"), ("distill", "losses=1"),
    ("distill", "stages=1"), ("distill", "teachers=null"), ("distill", "losses.hidden.mapping=last"),
    ("distill", "losses.hidden=null"), ("distill", "+losses.hidden._partial_=true"), ("distill", "allow_targets=os"),
    ("distill", "projection._target_=kdfeatures.cli.main.main"), ("distill", "student.layers=100"),
    ("distill", "student.layers=1000000000"), ("distill", "losses.logits.temperature=1e-30"),
    ("distill", "trainer.weight_decay=-1"), ("distill", "trainer.max_grad_norm=nan"),
    ("distill", "trainer.train_sampling_strategy=nope"), ("distill", "+trainer.fp16=true"),
    ("distill", "trainer.projection_learning_rate=-1"), ("distill", "trainer.max_steps=0"),
    ("distill", "+trainer.unknown=1"), ("distill", "++data.path.sub.sub=1"), ("distill", "=1"), ("distill", "a b"),
    ("distill", "teacher={a: 1}"), ("distill", "seed=18446744073709551616"), ("finetune", "model.dropout=2"),
    ("finetune", "class_weights={a: 1}"), ("finetune", "model.hidden_size=65"), ("evaluate", "model.batch_size=0"),
    ("export", "resamples=0"), ("compare", "runs=1"), ("compare", "runs=null"), ("demo", "arms=null"),
    ("demo", "baseline=nope"), ("demo", "metric=nope"), ("demo", "arms={a: [recipe=nope]}"), ("demo", "arms={a: 1}"),
    ("demo", "distill=['student.layers=9']"), ("submission", "file=[a]"), ("glue", "held_out=nan"),
    ("glue", "tasks=1"), ("inspect", "inspect.batch_size=1"), ("cache", "cache.max_gib=nan"),
]  # fmt: skip


@pytest.mark.parametrize(("command", "override"), WRONG_CALLS)
def test_a_wrong_call_says_one_line(command, override, model, capfd):
    needed = [part.replace("MODEL", model) for part in COMMANDS[command][3]]
    with pytest.raises(SystemExit) as stopped:
        main([command, *needed, override])
    err = capfd.readouterr().err
    assert stopped.value.code == 2
    assert err.startswith("kdfeatures: error: ") and err.count("\n") == 1, err
