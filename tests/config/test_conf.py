import configparser
import dataclasses
import pkgutil
import shlex
from pathlib import Path

import pytest
import torch
import yaml
from omegaconf import OmegaConf
from setuptools import find_packages
from support.composing import bound, compose
from support.shared_data import ROOT, glue_task
from support.tiny import tiny_config
from transformers import BertConfig

from kdfeatures.cache import CacheSettings
from kdfeatures.cli.arguments import written_out
from kdfeatures.cli.help import SUMMARIES
from kdfeatures.config import paths
from kdfeatures.config.load import _ScoredModel, task_of
from kdfeatures.config.objective import ConfiguredMap
from kdfeatures.config.schema import plain_config, section
from kdfeatures.config.stages import stages_of
from kdfeatures.config.teachers import OF_ITS_TRAINING
from kdfeatures.config.terms.auto import with_fitting_terms
from kdfeatures.data.settings import DataSettings
from kdfeatures.distillation.term import ON_OUTPUTS
from kdfeatures.mapping.resolve import resolve_map
from kdfeatures.models.encoders import EncoderSpec
from kdfeatures.models.students import StudentSpec, planned_config
from kdfeatures.models.teachers import TeacherSettings

CONF = ROOT / "conf"
FILES = sorted(CONF.rglob("*.yaml"))
TEACHER = tiny_config("bert", layers=12, width=48, heads=3)
STUDENT = tiny_config("bert", layers=4, width=24, heads=3)
# a student of 4 x 24 has no 16 relation heads
RTE = glue_task("rte")
HEADS = {
    "minilmv2_joint": {"losses.relations.relation_heads": 12},
    "minilmv2": {"stages.relations.losses.relations.relation_heads": 12},
    "cr_ild": {"stages.intermediate.losses.relations.relation_heads": 12},
}


def names(group):
    found = sorted(path.stem for path in (CONF / group).glob("*.yaml"))
    assert found
    return found


def plain(name):
    return yaml.safe_load((CONF / f"{name}.yaml").read_text(encoding="utf-8"))


def head_comment(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    # Hydra reads its package directive from the first line
    return [line for line in lines if not line.startswith("# @package")][0]


def opened(path):
    """Return the config of the command that a file opens with."""
    _, command, *overrides = shlex.split(head_comment(path).removeprefix("# "))
    return compose(command, *written_out(command, overrides))


def choice(group, name):
    return opened(CONF / group / f"{name}.yaml")


def told(cfg):
    """Return a composed config as plain data."""
    return plain_config(cfg, Path("out"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CONF)))
def test_every_file_opens_with_a_comment_and_a_choice_with_a_command_that_takes_it(path):
    comment = head_comment(path)
    assert comment.startswith("# ") and len(comment) > 12
    group = path.parent.name
    if path.parent == CONF:
        if path.stem in SUMMARIES:
            assert comment.startswith(f"# kdfeatures {path.stem} ")
        return
    if group == "regime":  # taken along with the task of its name
        assert f"task={path.stem}" in comment
        return
    command = shlex.split(comment.removeprefix("# "))
    assert command[0] == "kdfeatures" and command[1] in SUMMARIES


@pytest.mark.parametrize(
    "group", ["task", "recipe", "mapping", "heads", "projection", "student", "trainer", "augmentation", "cache"]
)
def test_the_command_of_a_choice_names_the_choice(group):
    for name in names(group):
        command = shlex.split(head_comment(CONF / group / f"{name}.yaml").removeprefix("# "))
        if name != "default":
            assert f"{group}={name}" in command


COMMENTED = [path for path in FILES if head_comment(path).startswith("# kdfeatures ")]


@pytest.mark.parametrize("path", COMMENTED, ids=lambda path: str(path.relative_to(CONF)))
def test_the_command_that_a_file_opens_with_composes(path):
    assert opened(path).seed == 1


@pytest.mark.parametrize("command", SUMMARIES)
def test_every_command_composes_without_overrides(command):
    assert compose(command).seed == 1


# what the tasks of a user's own files are called in the commands that they open with
OPENED_AS = {
    "files": "reviews",
    "token_files": "names",
    "multilabel_files": "toxic",
    "relevance_files": "search",
    "question_files": "manuals",
    "embedding_files": "titles",
}


@pytest.mark.parametrize("task", names("task"))
def test_every_task_is_complete_and_named_like_its_file(task):
    made = task_of(told(choice("task", task)))
    assert made.name == OPENED_AS.get(task, task)


@pytest.mark.parametrize("task", names("regime"))
def test_a_generated_task_brings_its_regime_and_overrides_win(task):
    rate = plain(f"regime/{task}")["trainer"]["learning_rate"]
    assert plain(f"task/{task}")["embedded"] == task
    assert choice("task", task).trainer.learning_rate == rate
    assert compose("distill", f"task={task}", "trainer.learning_rate=0.5").trainer.learning_rate == 0.5


@pytest.mark.parametrize("recipe", names("recipe"))
def test_every_recipe_builds_its_objective_for_a_narrower_student(recipe):
    cfg = choice("recipe", recipe)
    for key, value in HEADS.get(recipe, {}).items():
        OmegaConf.update(cfg, key, value)
    assert cfg.recipe_name == recipe
    for outputs in ("vector",) if recipe == "embedding" else ("classes", "score", "labels"):
        fitting = with_fitting_terms(told(cfg), lambda: (STUDENT, TEACHER))
        for stage in stages_of(fitting, lambda: (4, 12)):
            if recipe == "pseudo" and outputs == "labels":
                continue  # there is no one class that the teacher ranks first
            objective, pairs = bound(stage.config, STUDENT, TEACHER, outputs=outputs)
            assert set(objective.terms) == set(stage.config["losses"])
            projecting = [term for term in objective.terms.values() if getattr(term.loss, "needs_projection", False)]
            assert bool(pairs) == any(term.pairs for term in projecting)
            assert recipe != "embedding" or objective.terms["vectors"].projection is not None


def test_every_recipe_builds_between_the_sizes_of_bert_as_it_stands():
    teacher = tiny_config("bert", layers=12, width=768, heads=12)
    for recipe in names("recipe"):
        fitting = with_fitting_terms(told(choice("recipe", recipe)), lambda: (teacher, teacher))
        for stage in stages_of(fitting, lambda: (12, 12)):
            bound(stage.config, teacher, teacher, outputs="vector" if recipe == "embedding" else "classes")


@pytest.mark.parametrize("recipe", names("recipe"))
def test_every_recipe_opens_with_what_it_is_and_the_command(recipe):
    lines = (CONF / "recipe" / f"{recipe}.yaml").read_text(encoding="utf-8").splitlines()
    text = " ".join(line.removeprefix("# ") for line in lines if line.startswith("#"))
    assert "arXiv:" in text or "ACL 2022" in text or recipe in ("hard", "pseudo", "hidden_joint")


@pytest.mark.parametrize("mapping", names("mapping"))
def test_every_mapping_gives_pairs(mapping):
    pairs, dynamic = resolve_map(ConfiguredMap(told(choice("mapping", mapping))["mapping"], "mapping", []), 4, 12)
    assert pairs and (dynamic is None or dynamic.rule == mapping)


@pytest.mark.parametrize("projection", names("projection"))
def test_every_projection_builds(projection):
    objective, pairs = bound(told(choice("projection", projection)), STUDENT, TEACHER)
    student, teacher = objective.projections(pairs[0], torch.zeros(1, 2, 24), torch.zeros(1, 2, 48))
    assert student.shape == teacher.shape


@pytest.mark.parametrize("loss", names("loss"))
def test_every_loss_can_be_added_to_a_run(loss):
    cfg = compose("distill", "recipe=hard")
    OmegaConf.update(cfg, "losses.extra", plain(f"loss/{loss}"), force_add=True)
    if cfg.losses.extra.get("relation_heads") is not None:
        cfg.losses.extra.relation_heads = 12
    outputs = {"embedding": "vector", "binary": "labels"}.get(loss.partition("_")[0], "classes")
    if outputs == "vector":
        OmegaConf.update(cfg, "losses", {"extra": cfg.losses.extra}, merge=False)
    objective, _ = bound(told(cfg), STUDENT, TEACHER, outputs=outputs)
    assert pkgutil.resolve_name(cfg.losses.extra._target_) is type(objective.terms["extra"].loss)
    assert bool(objective.terms["extra"].pairs) == (objective.terms["extra"].loss.inputs not in ON_OUTPUTS)


def test_the_page_on_losses_names_every_one():
    text = (ROOT / "docs" / "losses.md").read_text(encoding="utf-8")
    assert [loss for loss in names("loss") if f"`{loss}`" not in text] == []


@pytest.mark.parametrize("student", names("student"))
def test_every_named_student_can_be_cut_from_bert(student):
    bert = BertConfig()
    spec = section(told(choice("student", student)), "student", StudentSpec)
    made = planned_config(spec, bert, RTE)
    assert made.num_hidden_layers == (spec.layers or 12 * spec.layer_share)
    assert made.hidden_size == (spec.hidden_size or 768)


@pytest.mark.parametrize("trainer", names("trainer"))
def test_every_trainer_composes_with_the_same_keys(trainer):
    assert choice("trainer", trainer).trainer.keys() == plain("trainer/default").keys()


@pytest.mark.parametrize("experiment", names("experiment"))
def test_every_experiment_names_itself_in_its_command(experiment):
    assert f" experiment={experiment}" in head_comment(CONF / "experiment" / f"{experiment}.yaml")
    choice("experiment", experiment)


ARMS = names("arm")


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_of_the_layer_maps_builds_its_objective_and_the_controls_are_there(arm):
    assert {"no_map", "reverse", "all_to_one", "shuffled_teacher", "permuted_teacher"} < set(ARMS)
    assert f" experiment=layer_maps arm={arm} " in head_comment(CONF / "arm" / f"{arm}.yaml")
    cfg = choice("arm", arm)
    cfg.projection.always = True
    others = {name: TEACHER for name in cfg.teachers}
    objective, _ = bound(told(cfg), STUDENT, TEACHER, others=others)
    assert list(objective.terms) == ["logits", "hidden", "attention"]
    assert (objective.weights["hidden"] == 0) == (arm == "no_map")
    assert (objective.terms["hidden"].teacher == "main") == (not arm.endswith("_teacher"))


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("data/default", DataSettings),
        ("student/default", StudentSpec),
        ("model/embedded", EncoderSpec),
        ("teacher/default", TeacherSettings),
        ("cache/auto", CacheSettings),
        ("evaluate", _ScoredModel),
    ],
)
def test_the_keys_of_a_section_are_the_fields_of_its_class(file, kind):
    content = plain(file)
    if file == "evaluate":
        content = content["model"]
    keys = set(content) - {"defaults"}
    # model and trainer of a teacher come from the groups in its defaults
    keys |= {key.split("@")[1].split(":")[0] for entry in content.get("defaults", []) for key in entry if "@" in key}
    fields = {field.name for field in dataclasses.fields(kind)}
    if kind is TeacherSettings:
        fields |= set(OF_ITS_TRAINING)
    assert keys == fields


def test_the_wheel_holds_every_package_and_the_configuration():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    listed = setup["options"]["packages"].split()
    assert listed == sorted(listed)
    assert set(listed) == {*find_packages(str(ROOT), include=["kdfeatures", "kdfeatures.*"]), "kdfeatures.conf"}
    assert setup["options"]["package_dir"].strip() == "kdfeatures.conf = conf"


def test_the_configuration_is_found_in_a_checkout():
    assert paths.conf_dir() == CONF


def test_the_configuration_is_found_inside_an_installed_package(tmp_path, monkeypatch):
    (tmp_path / "kdfeatures" / "conf").mkdir(parents=True)
    (tmp_path / "kdfeatures" / "conf" / "distill.yaml").touch()
    monkeypatch.setattr(paths, "__file__", str(tmp_path / "kdfeatures" / "config" / "paths.py"))
    assert paths.conf_dir() == tmp_path / "kdfeatures" / "conf"


def test_an_installation_without_configuration_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "__file__", str(tmp_path / "kdfeatures" / "config" / "paths.py"))
    with pytest.raises(FileNotFoundError, match="installed without its configuration"):
        paths.conf_dir()
