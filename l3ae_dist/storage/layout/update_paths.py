"""Paths of the change of an inverse."""

from dataclasses import dataclass
from typing import Self

from l3ae_dist.storage.fingerprint import fingerprint
from l3ae_dist.storage.layout.kinds import Kind
from l3ae_dist.storage.layout.paths import Folder, Name


@dataclass(frozen=True)
class UpdatePaths(Folder):
    """The change ``P' = P - (Y K) Y'`` of an inverse by r rows of interactions."""

    @classmethod
    def of(cls, factor: str, inverse: str, dataset: str) -> Self:
        """Return the paths for an inverse that is made from another one.

        Parameters
        ----------
        factor
            Id of the inverse, were it solved.
        inverse, dataset
            Place of the tiles of the other one, and the id of its interactions.
        """
        return cls(Kind.UPDATES.path(fingerprint(["update", factor, inverse, dataset])))

    @staticmethod
    def record(factor: str) -> str:
        """Return the id of the record that names the change which stands for an inverse."""
        return fingerprint(["update", factor])

    @property
    def id(self) -> str:
        """Id of its completion records."""
        return self.base.rpartition("/")[2]

    left = Name("YK")
    """``Y K``, n x (r + probes), whose last columns are zero; of the dtype of the tiles."""
    right = Name("Y")
    """``Y = P Z'``, and ``P`` times the probes, n x (r + probes); of the dtype of the tiles."""
    diagonal = Name("diagonal")
    """``diag(P')``, n x 1."""
    rows = Name("rows")
    """Z as places and values of its entries, three columns."""
    probe = Name("probe")
    """Random vectors that the residual is measured on."""
    middle = Name("K")
    """K with zeros for the probes."""

    def text(self, features: str) -> str:
        """Return the path of ``Y' F'``."""
        return f"{self.base}/{features}/YF"
