"""Write docs/reference.md from the docstrings of kdfeatures' public names: make reference

What a name's docstring says stands there as it is: paragraphs as text, `Args:` and the like as lists, examples and
tables as code.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, ForwardRef, get_origin

import kdfeatures as kd

PAGE = Path(__file__).with_name("reference.md")
OPENING = """\
# Reference

Made from the docstrings by `make reference`; a test compares the two. [From Python](python.md) has examples of use.
"""
# the names of `import kdfeatures as kd`, by what they are for; losses and mapping have chapters of their own
CHAPTERS = {
    "Capture": ("capture", "extract", "Features"),
    "Objectives": (
        "Objective", "Term", "Recipe", "recipe", "recipe_names", "Linear", "Cosine", "Steps", "Mixup", "LayerPair",
    ),  # fmt: skip
    "Training": ("DistillationTrainer", "Distiller", "encode_for_both", "Pooling", "give_vectors"),
    "Whole runs": ("distill", "finetune", "evaluate", "StudentSpec", "Task", "RunResults"),
    "Comparisons": (
        "compare_runs", "RunComparison", "compare_layers", "LayerComparison", "compare_heads", "HeadComparison",
    ),
    "Errors": ("UserError", "ConfigError"),
}  # fmt: skip
PACKAGES = {"losses": "Losses", "mapping": "Layer maps"}
SECTION = re.compile(r"^(Args|Returns|Raises|Attributes|Example|Examples|Yields):\s*$")
OF_ENTRIES = ("Args", "Attributes", "Raises")
COLUMNS = re.compile(r"^\S+ {2,}\S")
MARKUP = re.compile(r"\*|<(?=[\w/])|\](?=\()|(?<!\w)_|_(?!\w)")
ENTRY = re.compile(r"^([*\w][\w*, ]*): (.*)$")


def reference() -> str:
    """Return the page. Raises LookupError for a public name that stands in no chapter."""
    left_out = set(kd.__all__) - {name for names in CHAPTERS.values() for name in names} - {*PACKAGES, "__version__"}
    if left_out:
        raise LookupError(f"{', '.join(sorted(left_out))} stands in no chapter of docs/build_reference.py")
    parts = [OPENING]
    for title, names in CHAPTERS.items():
        parts += [f"## {title}\n", *(entry(f"kd.{name}", getattr(kd, name)) for name in names)]
    for package, title in PACKAGES.items():
        module = getattr(kd, package)
        parts += [f"## {title}\n", f"`kd.{package}`, that is `{module.__name__}`.\n", markdown(inspect.getdoc(module))]
        parts += [entry(f"kd.{package}.{name}", getattr(module, name), module) for name in sorted(module.__all__)]
    return "\n".join(parts)


def entry(name: str, value: Any, home: ModuleType | None = None) -> str:
    """Return the heading, signature and docstring of a name, and of a class's own methods."""
    if isinstance(value, ModuleType):  # a package that can be called
        value = getattr(value, name.rpartition(".")[2])
    lines = [f"### {name}\n"]
    if get_origin(value) is not None or not callable(value):
        return "\n".join([*lines, constant(name.rpartition(".")[2], value, home)])
    lines += [code(signature(name, value)), markdown(own_doc(value), parameters(value))]
    if inspect.isclass(value):
        for method, function, kind in methods(value):
            given = f"{name.rpartition('.')[2]}.{method}"
            lines.append(f"#### {given}\n")
            if kind != "property":
                lines.append(code(signature(given, function, bound=kind != "staticmethod")))
            lines.append(markdown(inspect.getdoc(function), parameters(function)))
    return "\n".join(lines)


def constant(name: str, value: Any, home: ModuleType | None) -> str:
    """Return what a name stands for that is neither a class nor a function."""
    if isinstance(value, dict):
        return f"A dict with the keys {', '.join(f'`{key}`' for key in value)}.\n"
    if isinstance(value, str):
        return f"`{value!r}`\n"
    return code(f"{name} = {alias(name, home)}")


def alias(name: str, home: ModuleType | None) -> str:
    """Return the type that a name stands for, as its module writes it."""
    modules = [module for module in sys.modules.values() if module.__name__.startswith(f"{home.__name__}.")]
    for module in sorted(modules, key=lambda module: module.__name__):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [name]:
                return ast.unparse(node.value).replace("'", "")  # names of types that are defined elsewhere
    raise LookupError(f"{home.__name__}.{name} is assigned nowhere below {home.__name__}")


def own_doc(value: Any) -> str:
    """Return a docstring, but not what dataclass, NamedTuple or a base class made up."""
    doc = value.__doc__ or ""
    return "" if doc.startswith(f"{value.__name__}(") else inspect.cleandoc(doc)


def methods(value: type) -> Iterator[tuple[str, Callable, str]]:
    """Yield (name, function, kind) of the public methods and properties that a class has itself, with a docstring."""
    for name, found in vars(value).items():
        kind = type(found).__name__
        function = found.fget if kind == "property" else getattr(found, "__func__", found)
        if not name.startswith("_") and inspect.isfunction(function) and function.__doc__:
            yield name, function, kind


def parameters(value: Any) -> dict[str, inspect.Parameter]:
    """Return what a class or function is called with; nothing for a class that takes what its base class takes."""
    try:
        found = inspect.signature(value).parameters
    except ValueError:  # an exception that takes what ValueError takes
        return {}
    if list(found) == ["args", "kwargs"]:
        return {}
    if inspect.isclass(value) and issubclass(value, tuple):
        # those of __new__ are another thing in every Python
        hints = {name: hint for part in value.__mro__ for name, hint in vars(part).get("__annotations__", {}).items()}
        return {name: parameter.replace(annotation=hints[name]) for name, parameter in found.items()}
    return dict(found)


def signature(name: str, value: Any, *, bound: bool = False) -> str:
    """Return a call as it may be written; over several lines where it is long. bound: leaves out the first argument."""
    if getattr(value, "_is_protocol", False):
        return f"class {name}(Protocol)"
    if inspect.isclass(value) and issubclass(value, Exception) and not parameters(value):
        return f"class {name}({value.__base__.__name__})"
    shown, keyword_only = [], False
    for parameter in list(parameters(value).values())[bound:]:
        if parameter.kind is parameter.VAR_POSITIONAL:
            keyword_only = True
        if parameter.kind is parameter.KEYWORD_ONLY and not keyword_only:
            shown.append("*")
            keyword_only = True
        shown.append(argument(parameter))
    returned = "" if inspect.isclass(value) else annotation(value.__annotations__.get("return", ""))
    end = f" -> {returned}" if returned and returned != "None" else ""
    line = f"{name}({', '.join(shown)}){end}"
    if len(line) <= 100:
        return line
    return "\n".join([f"{name}(", *(f"    {one}," for one in shown), f"){end}"])


def argument(parameter: inspect.Parameter) -> str:
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    said = annotation(parameter.annotation)
    text = f"{stars}{parameter.name}{f': {said}' if said else ''}"
    if parameter.default is parameter.empty:
        return text
    default = "..." if " at 0x" in repr(parameter.default) or "<factory>" in repr(parameter.default) else None
    return f"{text}{' = ' if said else '='}{literal(parameter.default) if default is None else default}"


def literal(value: Any) -> str:
    """Return a value as the source writes it."""
    return f'"{value}"' if isinstance(value, str) and '"' not in value else repr(value)


def annotation(given: Any) -> str:
    """Return a type as the source writes it."""
    if given is inspect.Parameter.empty:
        return ""
    if isinstance(given, ForwardRef):
        given = given.__forward_arg__
    text = given if isinstance(given, str) else inspect.formatannotation(given)
    # of Annotated[int, Range(1)] the type; kdfeatures.ranges says the rest
    text = re.sub(
        r"^(?:typing\.)?Annotated\[(.*?), (?:Range|OneOf|Count|Seed|Share|NotNegative|Positive)\b.*\]$", r"\1", text
    )
    return text.replace('"', "").replace("'", "") if text.startswith(("'", '"')) else text


def code(text: str, language: str = "python") -> str:
    return f"```{language}\n{text}\n```\n"


def markdown(doc: str | None, known: Collection[str] = ()) -> str:
    """Return a docstring as markdown: sections as lists, doctests, tables and indented text as code, the rest as it is.

    known: names of arguments. Paragraphs that describe some, `name: what it is`, are lists, too.
    """
    lines, parts = (doc or "").splitlines(), []
    while lines:
        heading = SECTION.match(lines[0])
        if heading:
            lines.pop(0)
            body = textwrap.dedent("\n".join(_take(lines, lambda line: not line or line.startswith(" ")))).strip("\n")
            parts += [f"**{heading[1]}**\n", listed(body) if heading[1] in OF_ENTRIES else markdown(body)]
        elif lines[0].startswith(">>> "):
            parts.append(code("\n".join(_take(lines, bool))))
        elif COLUMNS.match(lines[0]):
            parts.append(code("\n".join(_take(lines, bool)), "text"))
        elif lines[0].startswith(" "):
            block = "\n".join(_take(lines, lambda line: not line or line.startswith(" "))).strip("\n")
            parts.append(code(textwrap.dedent(block), "python" if "(" in block and "=" in block else "text"))
        elif lines[0]:
            paragraph = _take(lines, lambda line: bool(line) and not line.startswith(" ") and not SECTION.match(line))
            parts.append(listed("\n".join(paragraph), known) if known else escaped("\n".join(paragraph)) + "\n")
        else:
            lines.pop(0)
    return "\n".join(parts)


def _take(lines: list[str], wanted: Callable[[str], bool]) -> list[str]:
    """Remove lines from the front as long as they are wanted, and return them."""
    taken = []
    while lines and wanted(lines[0]):
        taken.append(lines.pop(0))
    return taken


def listed(body: str, known: Collection[str] | None = None) -> str:
    """Return lines `name: what it is`, with those that go on with one, as a list; others as they are.

    known: which names there are; None takes any.
    """
    made: list[str] = []
    inside = False
    for line in body.splitlines():
        found = ENTRY.match(line)
        if found and (known is None or set(found[1].replace("*", "").split(", ")) <= set(known)):
            made += [""] if made and not inside else []
            made.append(f"- `{found[1]}`: {escaped(found[2])}")
            inside = True
        else:
            made.append(f"  {escaped(line.strip())}" if inside else escaped(line))
    return "\n".join(made) + "\n"


def escaped(text: str) -> str:
    """Return text whose stars, angle brackets and links stay what they are, outside of `code`."""
    pieces = re.split(r"(`[^`]*`)", text)
    return "".join(piece if piece.startswith("`") else MARKUP.sub(r"\\\g<0>", piece) for piece in pieces)


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
    print(f"wrote {PAGE}")
