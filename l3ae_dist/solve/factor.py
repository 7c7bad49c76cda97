"""An inverse in the workspace: tiles of its own, or those of another inverse and its change."""

from dataclasses import dataclass

from l3ae_dist.data.linear_systems import INTERACTIONS, System
from l3ae_dist.storage.layout import FactorPaths, UpdatePaths


@dataclass(frozen=True, slots=True)
class Correction:
    """The change ``P' = P - (Y K) Y'`` of an inverse in the workspace.

    Parameters
    ----------
    paths
        Where Y, Y K and the new diagonal are.
    inverse
        Place of the tiles of P.
    dataset
        Id of the interactions that P is of.
    rank
        Rows by which P' differs.
    """

    paths: UpdatePaths
    inverse: str
    dataset: str
    rank: int


@dataclass(frozen=True, slots=True)
class Factor:
    """An inverse ``P`` in the workspace: the arrays of its folder, its ridge and its matrix G.

    With a correction it is that of other interactions and its change, and has no tiles of its own.
    """

    paths: FactorPaths
    ridge: float
    system: System = INTERACTIONS
    correction: Correction | None = None

    @property
    def id(self) -> str:
        """Id of the completion records."""
        return self.paths.id if self.correction is None else self.correction.paths.id

    @property
    def path(self) -> str:
        """Place of the tiles of the inverse, or of the one that it is changed from."""
        return self.paths.inverse if self.correction is None else self.correction.inverse

    @property
    def base(self) -> str:
        """Place of all that the inverse consists of beside tiles of another one."""
        return self.paths.base if self.correction is None else self.correction.paths.base

    @property
    def before(self) -> "Factor":
        """The inverse that this one is changed from; itself without a correction."""
        if self.correction is None:
            return self
        return Factor(FactorPaths.holding(self.correction.inverse), self.ridge, self.system)
