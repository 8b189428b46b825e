"""The house's rules, held over every import: downwards only, no circles, few packages that know Hydra."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "kdfeatures"
# from the lowest to the highest; a package may import those before it, and a module of its own package
LAYERS = (
    "errors", "files", "pages", "checksums", "ranges", "hub", "runtime", "features", "masking", "losses", "mapping",
    "capture", "alignment", "embeddings", "distillation", "evaluation", "tasks", "tokenization", "data", "models",
    "analysis", "cache", "training", "runs", "config", "pipelines", "api", "benchmark", "cli",
)  # fmt: skip
WITH_HYDRA = ("config", "benchmark", "cli")
WITHOUT_TRANSFORMERS = ("errors", "features", "masking", "losses", "mapping")
MAY_PRINT = ("benchmark", "cli")
MOST_MODULES = 15  # of a package
ONE_A_METHOD = ("kdfeatures.losses",)  # packages that have a module for every paper
TOPMOST = ("kdfeatures", "kdfeatures.__main__")


def module_name(path):
    parts = ("kdfeatures", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


TREES = {module_name(path): ast.parse(path.read_text(encoding="utf-8")) for path in sorted(ROOT.rglob("*.py"))}


def imported(tree):
    """Yield (name, node) of every import of a module, those inside functions and for types alike."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield (inner if inner in TREES else node.module), node


def package(name):
    return name.split(".")[1] if "." in name else name


def inside():
    """Yield (importer, imported) of this package's modules."""
    for name, tree in TREES.items():
        yield from ((name, target) for target, _ in imported(tree) if target.split(".")[0] == "kdfeatures")


def test_every_package_has_its_layer():
    assert {package(name) for name in TREES if name not in TOPMOST} == set(LAYERS)


def test_imports_go_downwards_only():
    upward = [
        f"{name} imports {target}"
        for name, target in inside()
        if name not in TOPMOST and LAYERS.index(package(name)) < LAYERS.index(package(target))
    ]
    assert upward == []


def test_no_module_imports_itself_through_others():
    graph = {}
    for name, target in inside():
        graph.setdefault(name, set()).update({target} - {name})
    done, path = set(), []

    def visit(name):
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name in done:
            return
        path.append(name)
        for target in graph.get(name, ()):
            visit(target)
        path.pop()
        done.add(name)

    for name in TREES:
        if name not in TOPMOST:
            visit(name)


def test_hydra_is_known_at_the_border_alone():
    knowing = {
        package(name)
        for name, tree in TREES.items()
        for target, _ in imported(tree)
        if target.split(".")[0] in ("hydra", "omegaconf")
    }
    assert knowing <= set(WITH_HYDRA)


def test_losses_maps_and_masking_do_without_transformers():
    knowing = [
        name
        for name, tree in TREES.items()
        if name not in TOPMOST and package(name) in WITHOUT_TRANSFORMERS
        for target, _ in imported(tree)
        if target.split(".")[0] == "transformers"
    ]
    assert knowing == []


def test_only_commands_print():
    printing = sorted(
        {
            name
            for name, tree in TREES.items()
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
            if package(name) not in MAY_PRINT
        }
    )
    assert printing == []


@pytest.mark.parametrize("name", sorted({name for name in TREES if f"{name}." in " ".join(TREES)} - {"kdfeatures"}))
def test_a_package_says_what_lives_there_and_is_small(name):
    lines = (ast.get_docstring(TREES[name]) or "").strip().splitlines()
    assert lines, f"{name}/__init__.py says nothing"
    modules = [other for other in TREES if other.rpartition(".")[0] == name]
    assert len(modules) <= MOST_MODULES or name in ONE_A_METHOD, f"{name} has {len(modules)} modules"


def test_few_modules_lie_beside_the_packages():
    beside = [path.name for path in ROOT.glob("*.py") if path.name not in ("__init__.py", "__main__.py")]
    assert len(beside) <= 8


def test_two_public_things_never_share_a_name():
    homes = {}
    for name, tree in TREES.items():
        for node in tree.body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(name)
    # `run` is what every command has, `pair` what every grammar of generated tasks has
    assert {
        name: where for name, where in homes.items() if len(where) > 1 and name not in ("run", "check", "pair")
    } == {}
