"""A configuration from a YAML file, or a workspace with defaults, and the options of a command."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from l3ae_dist.errors import ConfigError
from l3ae_dist.messages import shown

if TYPE_CHECKING:
    from l3ae_dist.config.run_config import RunConfig


def build_config(
    target: str | None, settings: Sequence[str], options: Mapping[str, object] | None = None
) -> "RunConfig":
    """Build the configuration of a command; options come before settings, settings before the file.

    Parameters
    ----------
    target
        Path of a YAML or JSON file; anything else is the path or URL of a workspace.
    settings
        Texts of the form ``KEY=VALUE``, as ``--set`` takes them.
    options
        Values of other options by key, such as ``{"compute.workers": 2}``; None is not given.

    Raises
    ------
    ConfigError
        For a setting without ``=``, and whatever :func:`l3ae_dist.config.load.load_config` raises.
    """
    from l3ae_dist.config.load import load_config

    overrides: dict[str, object] = {}
    is_file = target is not None and Path(target).suffix in (".yaml", ".yml", ".json")
    if target is not None and not is_file:
        overrides["workspace"] = quoted(target)
    overrides.update(_parse_setting(setting) for setting in settings)
    overrides.update({key: value for key, value in (options or {}).items() if value is not None})
    return load_config(target if is_file else None, overrides)


def quoted(text: str | None) -> str | None:
    """Quote a text as YAML, so that a path that looks like a number stays text; None stays None."""
    return None if text is None else json.dumps(text)


def _parse_setting(setting: str) -> tuple[str, str]:
    key, equals, value = setting.partition("=")
    if not equals or not key.strip():
        raise ConfigError(
            f"--set {shown(setting)} has no value; write --set KEY=VALUE, such as model.reg_x=-100."
        )
    return key.strip(), value
