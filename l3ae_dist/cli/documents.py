"""The type of what commands print."""

from collections.abc import Mapping
from typing import Any, TypeAlias

Document: TypeAlias = Mapping[str, Any]
"""A JSON object: the outcome of a command, as ``--json`` prints it and the views draw it."""
