"""Ids of users and items as the command line gives them."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from l3ae_dist.errors import UnknownIdError

R = TypeVar("R")


def call_with_ids(call: Callable[..., R], *ids: Sequence[str]) -> R:
    """Call with ids from the command line, as integers where the data has integer ids.

    Raises
    ------
    UnknownIdError
        When neither form is known.
    """
    forms: list[list[list[str]] | list[list[int]]] = [[list(group) for group in ids]]
    if all(text.lstrip("-").isdecimal() for group in ids for text in group):
        forms.append([[int(text) for text in group] for group in ids])
    first: UnknownIdError | None = None
    for form in forms:
        try:
            return call(*form)
        except UnknownIdError as error:
            first = first or error
    assert first is not None
    raise first
