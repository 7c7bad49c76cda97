"""Ids of users and items as the command line gives them."""

import re
from collections.abc import Callable, Sequence
from typing import TypeVar

from l3ae_dist.errors import UnknownIdError

R = TypeVar("R")
# An integer as it is written, and not 007.
_INTEGER = re.compile("0|-?[1-9][0-9]{0,18}")


def call_with_ids(call: Callable[..., R], *ids: Sequence[str]) -> R:
    """Call with ids from the command line, as integers where the data has integer ids.

    Raises
    ------
    UnknownIdError
        When neither form is known.
    """
    forms: list[list[list[str]] | list[list[int]]] = [[list(group) for group in ids]]
    if all(_INTEGER.fullmatch(text) for group in ids for text in group):
        forms.append([[int(text) for text in group] for group in ids])
    first: UnknownIdError | None = None
    for form in forms:
        try:
            return call(*form)
        except UnknownIdError as error:
            first = first or error
    assert first is not None
    raise first
