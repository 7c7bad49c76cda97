"""The reader of configurations: YAML, environment variables, overrides; a sentence for every problem."""

import os
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from l3ae_dist.config.run_config import RunConfig
from l3ae_dist.errors import ConfigError
from l3ae_dist.linalg.ranks_in_rows import METRICS
from l3ae_dist.messages import shown

ENVIRONMENT_PREFIX = "L3AE__"
_MOST_PROBLEMS = 4


def load_config(
    path: str | Path | None, overrides: Mapping[str, object] | None = None, *, environment: bool = True
) -> RunConfig:
    """Read a run's configuration; later sources win: YAML file, environment, overrides.

    Parameters
    ----------
    path
        YAML file; None for defaults. Relative paths inside are relative to the working directory.
    overrides
        Dotted keys, such as ``{"model.reg_x": "-100"}``; strings are read as YAML values.
    environment
        Whether variables like ``L3AE__COMPUTE__WORKERS=4`` count.

    Raises
    ------
    ConfigError
        One sentence for every problem: the value, the limit, the next step.
    """
    values = {} if path is None else _read_yaml(Path(path))
    if environment:
        for name, text in sorted(os.environ.items()):
            if name.startswith(ENVIRONMENT_PREFIX):
                key = name.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", ".")
                _set(values, key, _yaml_value(text, name))
    for key, value in (overrides or {}).items():
        _set(values, key, _yaml_value(value, key) if isinstance(value, str) else value)
    return make_config(values)


def make_config(values: Mapping[str, object]) -> RunConfig:
    """Validate a nested mapping as a configuration.

    Raises
    ------
    ConfigError
        One sentence for every problem: the value, the limit, the next step.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"a configuration is a mapping of sections and not {shown(values)}.")
    try:
        # an empty section of a YAML file is null: the section's defaults
        return RunConfig.model_validate({k: v for k, v in values.items() if v is not None})
    except ValidationError as error:
        raise ConfigError(_sentences(error.errors())) from error


def checked_config(config: object) -> RunConfig:
    """Return the configuration of a call, which :func:`make_config` or :func:`load_config` made.

    Raises
    ------
    ConfigError
        For anything else; a mapping is not validated here, since its own call names its problems.
    """
    if isinstance(config, RunConfig):
        return config
    raise ConfigError(
        f"the configuration is {shown(config)}; make it with make_config(mapping) or load_config(path)."
    )


def _read_yaml(path: Path) -> dict[str, object]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"no configuration file {path}; check the path.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the configuration {path}: {error}.") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {_one_line(error)}; correct it there.") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(
            f"{path} holds a {type(values).__name__}, not sections; start it with `workspace: PATH`."
        )
    return values


def _yaml_value(text: str, key: str) -> object:
    """Read the text of one value as YAML."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(
            f"the value {shown(text)} of {key} is not valid YAML: {_one_line(error)}."
        ) from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _set(values: dict[str, object], key: str, value: object) -> None:
    """Set a dotted key of a nested mapping, and make the sections that are missing."""
    *sections, last = key.split(".")
    here = values
    for section in sections:
        inner = here.setdefault(section, {})
        if inner is None:
            inner = here[section] = {}
        if not isinstance(inner, dict):
            raise ConfigError(
                f"{shown(key)} cannot be set: {shown(section)} is a value, not a section; "
                "remove the part after it."
            )
        here = inner
    here[last] = value


def _sentences(problems: Sequence[ErrorDetails]) -> str:
    """Say the first problems, one in each line, and how many more there are."""
    lines = [_sentence(problem) for problem in problems[:_MOST_PROBLEMS]]
    more = len(problems) - len(lines)
    return "\n".join([*lines, f"There are {more:,} more problems."] if more else lines)


def _sentence(problem: ErrorDetails) -> str:
    """Say one pydantic problem in one sentence."""
    key = ".".join(str(part) for part in problem["loc"])
    context, value = problem.get("ctx", {}), shown(problem["input"])
    change = f"correct it in the configuration or with --set {key}=VALUE."
    match problem["type"]:
        case "missing":
            return f"{key} is not set; give it in the configuration or with --set {key}=VALUE."
        case "extra_forbidden":
            return _unknown_key(problem["loc"])
        case "value_error":
            message = str(context["error"]).rstrip(".")
            return (
                f"{message}."
                if not key or message.startswith(("compute.", "the ridge"))
                else f"{key}: {message}."
            )
        case "string_pattern_mismatch" if key == "evaluate.metric":
            return f"{key} is {value} but must be one of {', '.join(METRICS)} with @K; {change}"
    limit = problem["msg"].removeprefix("Input should be ").removeprefix("Value should ")
    return f"{key} is {value} but must be {limit}; {change}"


def _unknown_key(location: tuple[int | str, ...]) -> str:
    *sections, name = [str(part) for part in location]
    model: type[BaseModel] = RunConfig
    for section in sections:
        model = _model_of(model.model_fields[section].annotation) if section in model.model_fields else model
    key = ".".join([*sections, name])
    near = get_close_matches(name, model.model_fields, n=1, cutoff=0.5)
    if near:
        return f"unknown key {key}; did you mean {'.'.join([*sections, near[0]])}?"
    return f"unknown key {key}; known here are {', '.join(model.model_fields)}."


def _model_of(annotation: object) -> type[BaseModel]:
    """Return the section that an annotation names; the whole configuration where it names none."""
    if get_origin(annotation) in (Union, UnionType):
        annotation = next(part for part in get_args(annotation) if part is not type(None))
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else RunConfig
