import copy
import math
import re

import pytest
from omegaconf import OmegaConf

from kdfeatures import losses, mapping
from kdfeatures.config.instantiate import TARGETS, instantiate
from kdfeatures.config.paths import conf_dir
from kdfeatures.config.schema import plain_config
from kdfeatures.errors import UserError


class Flags:
    def __init__(self, first, *, flag: bool, number: int | None, rate: float, names: list[str] = ()):
        self.arguments = first, flag, number, rate, list(names)


def fails(**arguments):
    raise UserError("what the target says itself")


def make(node, *args, allow=(), kind="loss"):
    return instantiate(node, "losses.extra", kind, allow, *args)


def refused(node, *args, allow=(), kind="loss"):
    with pytest.raises(UserError) as caught:
        make(node, *args, allow=allow, kind=kind)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def flags(**changed):
    node = {"_target_": f"{Flags.__module__}.Flags", "flag": True, "number": 3, "rate": 0.5}
    return make(node | changed, "first", allow=[Flags.__module__]).arguments


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "flags_for_tests", sys.modules[__name__])
    for thing in (Flags, fails):
        monkeypatch.setattr(thing, "__module__", "flags_for_tests")
    yield


def test_the_target_is_called_with_positional_arguments_and_the_rest_of_the_node():
    pairs = make({"_target_": "kdfeatures.mapping.final", "teacher_layer": 11}, 6, 12, kind="layer map")
    assert pairs == mapping.final(6, 12, teacher_layer=11)


def test_interpolations_are_resolved_in_the_whole_config():
    cfg = OmegaConf.create({"layer": 7, "rule": {"_target_": "kdfeatures.mapping.final", "teacher_layer": "${layer}"}})
    assert instantiate(plain_config(cfg, None)["rule"], "mapping", "layer map", [], 6, 12) == ((6, 7),)


@pytest.mark.parametrize("target", ["os.getcwd", "subprocess.check_output", "builtins.eval", "torch.nn.MSELoss"])
def test_a_target_of_another_package_is_refused_and_the_way_out_named(target):
    package = target.split(".")[0]
    assert refused({"_target_": target}) == (
        f"losses.extra._target_={target} is outside kdfeatures; if you trust it, say allow_targets=[{package}] on "
        "the command line."
    )


OTHERS = [
    "kdfeatures.cli.main.os.getcwd",
    "kdfeatures.cli.main.hydra.utils.instantiate",
    "kdfeatures.cli.main.main",
    "kdfeatures.runs.manifest._set_aside",
    "kdfeatures.losses.as_loss",
    "kdfeatures.losses.FunctionLoss",
    "kdfeatures.losses",
]


@pytest.mark.parametrize("target", OTHERS)
@pytest.mark.parametrize("allow", [(), ("kdfeatures",)])
def test_nothing_of_this_package_but_what_conf_may_name_is_called(target, allow):
    assert refused({"_target_": target}, allow=allow).startswith(f"losses.extra._target_={target} is no loss of kdf")


@pytest.mark.parametrize("kind", TARGETS)
def test_a_place_in_the_config_takes_one_kind_of_target(kind):
    for other, targets in TARGETS.items():
        for target in targets if other != kind else ():
            assert f"_target_={target} is no {kind} of kdfeatures" in refused({"_target_": target}, kind=kind)


def test_every_target_that_conf_names_is_in_the_closed_list():
    named = set(re.findall(r"_target_: ([\w.]+)", "".join(file.read_text() for file in conf_dir().rglob("*.yaml"))))
    assert len(named) > 40 and named <= {name for targets in TARGETS.values() for name in targets}


def test_nothing_is_imported_to_find_out_whether_it_may_be(tmp_path, monkeypatch):
    (tmp_path / "package_of_a_stranger.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    assert "is outside kdfeatures" in refused({"_target_": "package_of_a_stranger.Loss"})


@pytest.mark.parametrize("key", ["_args_", "_partial_", "_recursive_", "_convert_"])
def test_what_would_change_how_hydra_calls_a_target_is_refused(key):
    node = {"_target_": "kdfeatures.losses.HiddenMSE", key: True}
    assert refused(node) == f"losses.extra.{key} is not an argument of kdfeatures.losses.HiddenMSE; leave it out."


@pytest.mark.parametrize("value", [1, "last", None, [1]])
def test_what_is_no_node_is_one_line(value):
    assert refused(value, kind="layer map").startswith(f"losses.extra={value} is no layer map")


def test_a_target_hidden_among_the_arguments_is_refused():
    node = {"_target_": "kdfeatures.losses.HiddenMSE", "options": [{"deep": {"_target_": "os.getcwd"}}]}
    assert "_target_=os.getcwd is outside kdfeatures" in refused(node)


def test_a_package_that_the_user_trusts_may_be_called():
    assert make({"_target_": "math.sqrt", "_args_": [9]}, allow=["math"]) == math.sqrt(9)


def test_a_target_that_does_not_exist_is_one_line():
    told = refused({"_target_": "kdfeatures.losses.HiddenMES"})
    assert told.startswith(
        "losses.extra._target_=kdfeatures.losses.HiddenMES is no loss of kdfeatures; did you mean 'HiddenMSE'?"
    )


def test_a_target_that_a_trusted_package_does_not_have_is_one_line():
    assert refused({"_target_": "math.sqrtt"}, allow=["math"]).startswith(
        "losses.extra._target_=math.sqrtt cannot be f"
    )


def test_a_node_without_target_is_refused():
    assert refused({"weight": 1.0}).startswith("losses.extra has no _target_")


def test_a_value_that_the_user_must_give_is_named():
    node = {"_target_": "kdfeatures.mapping.explicit", "pairs": "???"}
    assert refused(node, 2, 4, kind="layer map") == "losses.extra.pairs has no default; give losses.extra.pairs=..."


def test_an_argument_the_target_does_not_take_is_named():
    told = refused({"_target_": "kdfeatures.losses.HiddenMSE", "temprature": 2})
    assert told.startswith("losses.extra: ") and "'temprature'" in told


def test_a_user_error_of_the_target_is_passed_on_as_it_is():
    assert refused({"_target_": "flags_for_tests.fails"}, allow=["flags_for_tests"]) == "what the target says itself"


def test_plain_arguments_get_the_declared_type():
    assert flags(flag="no", number="4", rate=1) == ("first", False, 4, 1.0, [])
    assert flags(number=None, names=["a"]) == ("first", True, None, 0.5, ["a"])


@pytest.mark.parametrize(("name", "value"), [("flag", "maybe"), ("number", 1.5), ("number", "x"), ("rate", "fast")])
def test_an_argument_of_another_type_is_refused_by_name_and_value(name, value):
    node = {"_target_": "flags_for_tests.Flags", "flag": True, "number": 3, "rate": 0.5, name: value}
    told = refused(node, "first", allow=["flags_for_tests"])
    assert told.startswith(f"losses.extra.{name}: ") and str(value) in told


def test_the_node_is_left_as_it_was():
    node = {"_target_": "kdfeatures.losses.RelationKL", "relation_heads": "4", "relations": ["value"]}
    before = copy.deepcopy(node)
    made = instantiate(node, "losses.extra", "loss", [])
    assert isinstance(made, losses.RelationKL) and made.relation_heads == 4
    assert node == before
