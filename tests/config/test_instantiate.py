import copy
import math

import pytest
from omegaconf import OmegaConf

from kdfeatures import losses, mapping
from kdfeatures.config.instantiate import instantiate
from kdfeatures.config.schema import plain_config
from kdfeatures.errors import UserError


class Flags:
    def __init__(self, first, *, flag: bool, number: int | None, rate: float, names: list[str] = ()):
        self.arguments = first, flag, number, rate, list(names)


def fails(**arguments):
    raise UserError("what the target says itself")


def make(node, *args, allow=()):
    return instantiate(node, "losses.extra", allow, *args)


def refused(node, *args, allow=()):
    with pytest.raises(UserError) as caught:
        make(node, *args, allow=allow)
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
    pairs = make({"_target_": "kdfeatures.mapping.final", "teacher_layer": 11}, 6, 12)
    assert pairs == mapping.final(6, 12, teacher_layer=11)


def test_interpolations_are_resolved_in_the_whole_config():
    cfg = OmegaConf.create({"layer": 7, "rule": {"_target_": "kdfeatures.mapping.final", "teacher_layer": "${layer}"}})
    assert instantiate(plain_config(cfg, None)["rule"], "mapping", [], 6, 12) == ((6, 7),)


@pytest.mark.parametrize("target", ["os.getcwd", "subprocess.check_output", "builtins.eval", "torch.nn.MSELoss"])
def test_a_target_of_another_package_is_refused_and_the_way_out_named(target):
    package = target.split(".")[0]
    assert refused({"_target_": target}) == (
        f"losses.extra._target_={target} is outside kdfeatures; if you trust it, say allow_targets=[{package}]."
    )


@pytest.mark.parametrize("target", ["kdfeatures.cli.main.os.getcwd", "kdfeatures.cli.main.hydra.utils.instantiate"])
def test_a_target_that_only_passes_through_this_package_is_refused(target):
    assert f"{target} is outside kdfeatures" in refused({"_target_": target})


def test_a_target_hidden_among_the_arguments_is_refused():
    node = {"_target_": "kdfeatures.losses.HiddenMSE", "options": [{"deep": {"_target_": "os.getcwd"}}]}
    assert "_target_=os.getcwd is outside kdfeatures" in refused(node)


def test_a_package_that_the_user_trusts_may_be_called():
    assert make({"_target_": "math.sqrt", "_args_": [9]}, allow=["math"]) == math.sqrt(9)


def test_a_target_that_does_not_exist_is_one_line():
    told = refused({"_target_": "kdfeatures.losses.HiddenMES"})
    assert told.startswith("losses.extra._target_=kdfeatures.losses.HiddenMES cannot be found")


def test_a_node_without_target_is_refused():
    assert refused({"weight": 1.0}).startswith("losses.extra has no _target_")


def test_a_value_that_the_user_must_give_is_named():
    node = {"_target_": "kdfeatures.mapping.explicit", "pairs": "???"}
    assert refused(node, 2, 4) == "losses.extra.pairs has no default; give losses.extra.pairs=..."


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
    made = instantiate(node, "losses.extra", [])
    assert isinstance(made, losses.RelationKL) and made.relation_heads == 4
    assert node == before
