"""Completion records: what a stage made, from which parameters, with which figures."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self, TypeAlias

from l3ae_dist.storage.stages import Stage

JsonObject: TypeAlias = dict[str, Any]
"""JSON document of a workspace as Python values."""


@dataclass(frozen=True, slots=True)
class StageRecord:
    """The record that an artifact is complete.

    Parameters
    ----------
    stage, id
        What made it, and the fingerprint of what it was made from.
    params
        What it was made from.
    stats
        Figures of the stage: sizes, times, or a certificate.
    finished
        When, as ISO 8601 in UTC.
    epoch
        Epoch of the lock under which it was written; 0 where none was held.
    arrays
        Paths of the arrays that are complete by it; None in records of older versions.
    """

    stage: Stage
    id: str
    params: JsonObject
    stats: JsonObject
    finished: str
    epoch: int = 0
    arrays: list[str] | None = None

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """Return the record that a document holds."""
        return cls(**{**document, "stage": Stage(document["stage"])})

    def document(self) -> JsonObject:
        """Return the record as JSON-like values."""
        return asdict(self)
