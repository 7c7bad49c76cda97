"""The decorator that makes a function a command: groups of options, errors as exit codes."""

import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from inspect import Parameter
from typing import Any

from l3ae_dist.cli.exits import guarded


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Make a function a command of the command line.

    A parameter whose type is a dataclass stands for a group of options: the command line shows one option
    for each of its fields, in their order, and the function gets the filled dataclass. Errors end the
    process with their exit code (:func:`l3ae_dist.cli.exits.guarded`).
    """
    parameters = inspect.signature(function).parameters.values()
    groups = {one.name: one.annotation for one in parameters if _is_group(one)}
    shown = [option for one in parameters for option in _options(one)]

    @functools.wraps(function)
    def run(**given: object) -> None:
        filled = {name: _fill(group, given) for name, group in groups.items()}
        function(**filled, **given)

    del run.__wrapped__  # typer would show the groups
    run.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
    run.__annotations__ = {option.name: option.annotation for option in shown}
    return guarded(run)


def _is_group(parameter: Parameter) -> bool:
    return is_dataclass(parameter.annotation)


def _fill(group: type[Any], given: dict[str, object]) -> object:
    """Take the values of a group's fields out of the given ones, and make the group of them."""
    return group(**{field.name: given.pop(field.name) for field in fields(group)})


def _options(parameter: Parameter) -> Iterator[Parameter]:
    if not _is_group(parameter):
        yield parameter.replace(kind=Parameter.KEYWORD_ONLY)
        return
    for field in fields(parameter.annotation):
        yield Parameter(field.name, Parameter.KEYWORD_ONLY, default=_default(field), annotation=field.type)


def _default(field: "Field[object]") -> object:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return Parameter.empty if field.default is MISSING else field.default
