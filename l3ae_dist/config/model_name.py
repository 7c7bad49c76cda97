"""Names of fitted models: how they are written, and what is said of one that is not."""

import re
from typing import Annotated

from pydantic import AfterValidator

from l3ae_dist.errors import ConfigError
from l3ae_dist.messages import shown

_NAME = re.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def is_name(name: object) -> bool:
    """Tell whether a model may have this name."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def checked_name(name: object) -> str:
    """Return a name that a model may have: letters, digits, ``.``, ``_`` and ``-``, at most 64 of them.

    Raises
    ------
    ConfigError
        For anything else.
    """
    if not isinstance(name, str) or not is_name(name):
        raise ConfigError(
            f"the model's name is {shown(name)} but must be 1 to 64 letters, digits, dots, dashes and "
            "underscores that begin with a letter or digit, such as spring-2026"
        )
    return name


ModelName = Annotated[str, AfterValidator(checked_name)]
