"""References made from the code when the pages are built: configuration, command line, public names.

Each function returns Markdown, which takes the place of a marker in a page, so that what is added to the
code is on the page without anybody writing it down twice.
"""

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import typer
import yaml
from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo

import l3ae_dist
from l3ae_dist import errors
from l3ae_dist.cli.app import app as cli
from l3ae_dist.cli.exits import EXIT_CODES
from l3ae_dist.config.load import ENVIRONMENT_PREFIX
from l3ae_dist.config.run_config import RunConfig
from l3ae_dist.units import exact_bytes, parse_bytes

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_LIMITS = {"gt": "greater than", "ge": "at least", "lt": "less than", "le": "at most"}
_NAMES = {bool: "true or false", int: "integer", float: "number", str: "text", Any: "anything"}
_PLACEHOLDERS = {int: "INTEGER", float: "NUMBER", Path: "PATH"}
# what scikit-learn adds to every estimator is its own affair
_INHERITED = [
    "   :inherited-members: BaseEstimator",
    "   :exclude-members: get_metadata_routing, set_fit_request, set_predict_request, set_score_request",
]


class Entry(NamedTuple):
    """One value of the configuration, as its reference describes it."""

    key: str
    """Its name with the sections before it, as ``--set`` takes it."""
    field: FieldInfo
    """What pydantic knows of it."""
    text: str
    """Its description, empty when nobody wrote one."""
    section: type[BaseModel] | None
    """The model of its own values, when it is a section."""


# ---- configuration


def entries(model: type[BaseModel] = RunConfig, prefix: str = "") -> Iterator[Entry]:
    """Yield every value that a configuration may hold, sections before what is in them; each model once."""
    yield from _entries(model, prefix, set())


def _entries(model: type[BaseModel], prefix: str, seen: set[type[BaseModel]]) -> Iterator[Entry]:
    texts = attribute_texts(model)
    sections = []
    for name, field in model.model_fields.items():
        inner = next(_models(field.annotation), None)
        section = _is_section(field.annotation)
        entry = Entry(f"{prefix}{name}", field, texts.get(name, ""), inner if section else None)
        if not section:
            yield entry
        if inner is not None and inner not in seen:
            seen.add(inner)
            sections.append((entry, inner))
    for entry, inner in sections:
        if entry.section is not None:
            yield entry
        yield from _entries(inner, f"{entry.key}.", seen)


def attribute_texts(model: type[BaseModel]) -> dict[str, str]:
    """Return the string below each field of a model, inherited fields included."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if not (issubclass(base, BaseModel) and base is not BaseModel):
            continue
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(definition, ast.ClassDef)
        for field, text in zip(definition.body, definition.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                match text:
                    case ast.Expr(value=ast.Constant(value=str(words))):
                        found[field.target.id] = inspect.cleandoc(words)
    return found


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def _is_section(annotation: Any) -> bool:
    """Tell whether nothing but a model (or null) may stand there."""
    parts = [part for part in get_args(annotation) if part is not NoneType] or [annotation]
    return all(isinstance(part, type) and issubclass(part, BaseModel) for part in parts)


def type_text(annotation: Any, metadata: list[Any] | tuple[Any, ...] = ()) -> str:
    """Say in words which values a field takes, with their limits."""
    parts = get_args(annotation)
    if get_origin(annotation) in (Union, UnionType):
        several = len([part for part in parts if part is not NoneType]) > 1
        words = [type_text(part, () if several else metadata) for part in parts if part is not NoneType]
        return "; or ".join([*words, *(["null"] if NoneType in parts else [])])
    limits = [text for rule in _rules(metadata) for text in _limits(rule)]
    between = "; " if get_origin(annotation) in (tuple, list) else ", "
    return between.join([_type_words(annotation, metadata), *dict.fromkeys(limits)])


def _type_words(annotation: Any, metadata: list[Any] | tuple[Any, ...]) -> str:
    if any(isinstance(rule, BeforeValidator) and rule.func is parse_bytes for rule in _rules(metadata)):
        return "size in bytes, or such as `2GiB`"
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_text(parts[0], parts[1:])
    if origin is Literal:
        return "one of " + ", ".join(f"`{_yaml(value)}`" for value in parts)
    if origin in (tuple, list):
        inner = [part for part in parts if part is not Ellipsis]
        count = "list" if Ellipsis in parts or origin is list else f"list of {len(inner)}"
        return f"{count}, each {type_text(inner[0])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "mapping of " + ", ".join(f"`{name}`" for name in annotation.model_fields)
    return _NAMES.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _rules(metadata: list[Any] | tuple[Any, ...]) -> Iterator[Any]:
    for rule in metadata:
        yield from rule.metadata if isinstance(rule, FieldInfo) else [rule]


def _limits(rule: Any) -> Iterator[str]:
    for name, words in _LIMITS.items():
        if hasattr(rule, name):
            yield f"{words} {getattr(rule, name):g}"
    if getattr(rule, "min_length", None):
        yield f"at least {rule.min_length} of them"
    if getattr(rule, "pattern", None):
        yield f"of the form `{rule.pattern}`"


def _yaml(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10_000)
    return str(text).removesuffix("...\n").strip()


def default_text(field: FieldInfo) -> str:
    """Write the default of a field as YAML; sizes in the largest unit that holds them."""
    if field.is_required():
        return "none, it must be given"
    value = field.default
    if any(isinstance(rule, BeforeValidator) and rule.func is parse_bytes for rule in field.metadata):
        return f"`{exact_bytes(value)}`"
    return f"`{_yaml(list(value) if isinstance(value, tuple) else value)}`"


def variable(key: str) -> str:
    """Return the environment variable that sets a value."""
    return ENVIRONMENT_PREFIX + key.upper().replace(".", "__")


def configuration() -> str:
    """Describe the whole configuration: a heading for each section, an entry for each value."""
    out: list[str] = []
    for entry in entries():
        if entry.section is not None:
            optional = NoneType in get_args(entry.field.annotation)
            out += [f"## {entry.key}", "", _markdown(entry.text), ""]
            more = inspect.getdoc(entry.section) or ""
            if not more.startswith(entry.text.rstrip(".")):
                out += [_markdown(more), ""]
            if optional:
                out += ["Nothing of this happens unless the section is given.", ""]
        else:
            out += _entry(entry)
    return "\n".join(out)


def _entry(entry: Entry) -> list[str]:
    return [
        f"```{{confval}} {entry.key}",
        f":type: {type_text(entry.field.annotation, entry.field.metadata)}",
        f":default: {default_text(entry.field)}",
        "",
        _markdown(entry.text),
        "",
        f"Environment: `{variable(entry.key)}`",
        "```",
        "",
    ]


def _markdown(text: str) -> str:
    """Turn a docstring's double backquotes and roles into Markdown's single ones."""
    return re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text).replace("``", "`")


# ---- command line


def commands() -> Iterator[tuple[str, Any]]:
    """Yield every command with its full name, groups left out."""
    yield from _commands("l3ae-dist", typer.main.get_command(cli))


def _commands(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        yield name, command
        return
    for part, inner in sorted(command.commands.items()):
        yield from _commands(f"{name} {part}", inner)


def command_line() -> str:
    """Describe every command: a heading for it, an entry for each argument and option."""
    root = typer.main.get_command(cli)
    out = [
        "## Options of every command",
        "",
        "They stand before the command: `l3ae-dist --debug run ...`.",
        "",
    ]
    out += ["```{program} l3ae-dist", "```", "", *_parameters(root)]
    for name, command in commands():
        pieces = [_usage(parameter) for parameter in command.params if _needed(parameter)]
        usage = " ".join([name, *pieces, "[OPTIONS]"])
        out += [f"## {name}", "", f"```{{program}} {name}", "```", "", f"    {usage}", ""]
        out += [_markdown(inspect.cleandoc(command.help or "")), "", *_parameters(command)]
    return "\n".join(out)


def _shown(parameter: Any) -> bool:
    return not getattr(parameter, "hidden", False) and "--help" not in parameter.opts


def _needed(parameter: Any) -> bool:
    return _shown(parameter) and (parameter.required or parameter.param_type_name == "argument")


def _usage(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        name = _placeholder(parameter)
        return name if parameter.required or name.startswith("[") else f"[{name}]"
    return f"{max(parameter.opts, key=len)}{_value(parameter)}"


def _placeholder(parameter: Any) -> str:
    name = parameter.metavar or parameter.name.upper()
    return f"{name}..." if parameter.nargs == -1 and not name.endswith("...") else str(name)


def _value(parameter: Any) -> str:
    if parameter.is_flag:
        return ""
    kind = parameter.type_descriptor.annotation
    return f" {parameter.metavar or _PLACEHOLDERS.get(kind, 'TEXT')}"


def _parameters(command: Any) -> list[str]:
    out = []
    for parameter in filter(_shown, command.params):
        if parameter.param_type_name == "argument":
            heading = _placeholder(parameter)
        else:
            names = [*sorted(parameter.opts, key=len), *parameter.secondary_opts]
            heading = ", ".join(f"{name}{_value(parameter)}" for name in names)
        out += [f"```{{option}} {heading}", "", _parameter_text(parameter), "```", ""]
    return out


def _parameter_text(parameter: Any) -> str:
    text = _markdown((getattr(parameter, "help", None) or _placeholder(parameter).lower()).strip())
    text = f"{text}." if text[-1] not in ".!?)" else text
    if parameter.min is not None:
        text += f" At least {parameter.min}."
    if parameter.max is not None:
        text += f" At most {parameter.max}."
    if parameter.param_type_name == "argument":
        return text
    if parameter.multiple and "repeat" not in text:
        text += " May be repeated."
    if parameter.required:
        return text + " Required."
    default = parameter.default
    shown = default not in (None, "", [], ()) and not isinstance(default, bool)
    return text + (f" Default: `{default}`." if shown else "")


def exit_codes() -> str:
    """Make the table of exit codes, their meaning, and the errors that give them."""
    kinds: dict[int, list[str]] = {}
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, errors.L3AEError):
            kinds.setdefault(kind.exit_code, []).append(f"{{py:class}}`~l3ae_dist.errors.{name}`")
    rows = [f"| {code} | {text} | {', '.join(kinds.get(code, []))} |" for code, text in EXIT_CODES.items()]
    return "\n".join(["| code | meaning | errors |", "|---|---|---|", *rows])


# ---- public names


def public_names() -> str:
    """List every public name of the package for autodoc."""
    out = []
    for name in sorted(l3ae_dist.__all__, key=str.lower):
        thing = getattr(l3ae_dist, name)
        if not hasattr(thing, "__module__"):
            continue
        kind = "autoclass" if isinstance(thing, type) else "autofunction"
        options = _INHERITED if kind == "autoclass" else []
        out += [f"## {name}", "", "```{eval-rst}", f".. {kind}:: l3ae_dist.{name}", *options, "```", ""]
    return "\n".join(out)


MARKERS: Mapping[str, Callable[[], str]] = {
    "configuration": configuration,
    "command-line": command_line,
    "exit-codes": exit_codes,
    "public-names": public_names,
}


def fill(_app: "Sphinx", _page: str, source: list[str]) -> None:
    """Put the generated text in the place of its marker."""
    for name, make in MARKERS.items():
        marker = f"<!-- generated: {name} -->"
        if marker in source[0]:
            source[0] = source[0].replace(marker, make())


def setup(app: "Sphinx") -> dict[str, Any]:
    """Fill the markers as pages are read."""
    app.connect("source-read", fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
