"""Ranges of values of embeddings: what float32 stores, and what products of its numbers keep."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from l3ae_dist.errors import ConfigError
from l3ae_dist.linalg.arrays import Array

TOO_SMALL = "too small for float32, with no value above 1.2e-38"
"""Fault of rows of which next to nothing is left."""
# Rows within these have squares that float32 adds up, whatever their number.
_LEAST, _MOST = 1e-15, 1e15


def out_of_range(rows: Array) -> tuple[Array, Array]:
    """Tell which rows float32 does not hold: with a value that is not finite there, and too small.

    A row is too small when none of its values is a normal number of float32, so that next to nothing is left
    of its direction; a row of zeros is not.

    >>> large, small = out_of_range(np.array([[1e39, 1], [1e-40, 1e-50], [1, 1e-50], [0, 0]]))
    >>> large.tolist(), small.tolist()
    ([True, False, False, False], [False, True, False, False])
    """
    limits, sizes = np.finfo(np.float32), _sizes(rows)
    return ~(sizes <= float(limits.max)), (sizes > 0) & (sizes < float(limits.tiny))


def _sizes(rows: Array) -> Array:
    """Return the largest absolute value of each row, float64."""
    return np.asarray(np.abs(np.asarray(rows, np.float64)).max(axis=1))


@dataclass(slots=True)
class ValueRange:
    """The smallest and the largest row of those that were added, each by its largest absolute value."""

    least: float = np.inf
    most: float = 0.0

    def add(self, rows: Array) -> None:
        """Take in rows; those of zeros do not count."""
        sizes = _sizes(rows)
        sizes = sizes[sizes > 0]
        if len(sizes):
            self.least, self.most = min(self.least, float(sizes.min())), max(self.most, float(sizes.max()))

    @classmethod
    def joined(cls, *stats: Mapping[str, float]) -> "ValueRange":
        """Return the range of all rows of several arrays, from the figures that are stored with them."""
        known = [one for one in stats if "most" in one]
        return cls(
            min((one["least"] for one in known), default=np.inf),
            max((one["most"] for one in known), default=0.0),
        )

    def record(self) -> dict[str, float]:
        """Return the range as it is stored with the rows; empty where all are zero."""
        return {"least": self.least, "most": self.most} if self.most else {}


def refuse_lost_products(stats: Mapping[str, float]) -> None:
    """Refuse embeddings of which float32 loses the scalar products.

    Parameters
    ----------
    stats
        Figures of the stage that stored them; those of earlier versions tell no range and are not refused.

    Raises
    ------
    ConfigError
        For rows that are too small or too large.
    """
    least, most = stats.get("least", 1.0), stats.get("most", 1.0)
    if least < _LEAST or most > _MOST:
        value = least if least < _LEAST else most
        raise ConfigError(
            f"an embedding has {value:.1e} as its largest value, and float32 loses products of embeddings "
            f"below {_LEAST:g} and above {_MOST:g}; set transform.normalize=true, or scale all of them."
        )
