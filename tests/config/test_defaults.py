"""A YAML states what Python does by default: a run and a library user get the same loss, map or setting."""

import inspect
import pkgutil
from dataclasses import MISSING, fields

import pytest
import yaml

from kdfeatures.analysis.settings import InspectSettings
from kdfeatures.cache.settings import CacheSettings
from kdfeatures.config.paths import conf_dir
from kdfeatures.data.augmentation.settings import AugmentationSettings
from kdfeatures.data.settings import DataSettings
from kdfeatures.distillation.balancing import GradientBalancer
from kdfeatures.distillation.mixup import Mixup
from kdfeatures.distillation.term import Term
from kdfeatures.models.students import StudentSpec
from kdfeatures.models.teachers import TeacherSettings

# where a term of the paper counts otherwise than a term usually does: {file: {key: why}}
OF_THE_PAPER = {
    "normalized_cls": {"weight": "PKD's beta for a mean over the width", "pair_reduction": "PKD's mean over pairs"},
    "linear_cka": {"pair_reduction": "a mean keeps its range, 0 to 1"},
    "procrustes": {"pair_reduction": "a mean keeps its range, 0 to 2"},
    "token_similarity_kl": {"pair_reduction": "CKD's mean over layers"},
    "token_angle": {"pair_reduction": "CKD's mean over layers"},
    "flow_cosine": {"pair_reduction": "CKD's mean over layers"},
    "rkd_distance": {"weight": "RKD's 1 : 2 to angles", "pair_reduction": "a mean keeps its range"},
    "embedding_rkd_distance": {"weight": "RKD's for distances"},
    "embedding_rkd_angle": {"weight": "RKD's 2 : 1 to distances"},
    "rkd_angle": {"weight": "RKD's 2 : 1 to distances", "pair_reduction": "a mean keeps its range"},
}
OF_TERM = {field.name: field.default for field in fields(Term)}


def read(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def files(group):
    return sorted((conf_dir() / group).glob("*.yaml"))


def parameters(target):
    return inspect.signature(pkgutil.resolve_name(target)).parameters


def stated(node, defaults, where):
    """Assert that every value of a node is the default of its name; ??? and values that refer to others say none."""
    for key, value in node.items():
        if key == "defaults" or value == "???" or (isinstance(value, str) and "${" in value):
            continue
        assert key in defaults, f"{where}: {key} is no argument"
        default = defaults[key]
        assert default is not inspect.Parameter.empty, f"{where}: {key} has no default in Python"
        default = list(default) if isinstance(default, tuple) else default
        assert value == default and type(value) in (type(default), int, float), f"{where}: {key}"


@pytest.mark.parametrize("path", files("loss"), ids=lambda path: path.stem)
def test_terms(path):
    """What a loss itself takes is held in tests/losses/test_declarations.py."""
    node, excused = read(path), OF_THE_PAPER.get(path.stem, {})
    assert excused.keys() <= node.keys()
    for key in ("weight", "pair_reduction"):
        if key in node:
            assert (node[key] != OF_TERM[key]) == (key in excused), f"{path.stem}: {key}={node[key]}"


@pytest.mark.parametrize("path", [*files("mapping"), *files("heads"), *files("projection")], ids=lambda path: path.stem)
def test_maps_heads_and_projections(path):
    node = read(path)
    for other in node.pop("defaults", []):  # shared is linear, said otherwise in one key
        said = {**read(path.parent / f"{other}.yaml"), **node}
        assert {key for key in node if said[key] != read(path.parent / f"{other}.yaml").get(key)} == {"shared"}
        node = {key: value for key, value in said.items() if key != "shared"}
    given = {name: parameter.default for name, parameter in parameters(node["_target_"]).items()}
    stated({key: value for key, value in node.items() if key != "_target_"}, given, path.stem)


@pytest.mark.parametrize(
    ("file", "kind", "left_out"),
    [
        ("data/default", DataSettings, ()),
        ("student/default", StudentSpec, ()),
        ("teacher/default", TeacherSettings, ()),
        ("augmentation/tinybert", AugmentationSettings, ()),
        ("cache/auto", CacheSettings, ()),
        ("inspect", InspectSettings, ()),
        ("balance/shares", GradientBalancer, ()),
        ("mixup/embeddings", Mixup, ()),
    ],
)
def test_settings(file, kind, left_out):
    node = read(conf_dir() / f"{file}.yaml")
    node = node["inspect"] if file == "inspect" else node
    if kind is GradientBalancer:
        defaults = {name: parameter.default for name, parameter in inspect.signature(kind).parameters.items()}
    else:
        defaults = {}
        for field in fields(kind):
            made = field.default_factory() if field.default_factory is not MISSING else field.default
            defaults[field.name] = inspect.Parameter.empty if made is MISSING else made
    stated(node, defaults, file)
    assert set(defaults) - set(node) <= set(left_out), f"{file} does not say all of {kind.__name__}"
