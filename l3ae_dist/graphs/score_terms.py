"""The terms that a model's scores are the sum of: few, and the same kinds for every member of the family.

``scores(x) = sum (x A) diag(scale) + sum weight (x L) R' + x diag(e)`` with tiled n x n matrices A (an
inverse, a product, a Gram), n x d arrays L and R, and n-vectors. Column j of the sum predicts item j. Three
modules compute with them: :mod:`l3ae_dist.graphs.shared_scoring` (many models, as evaluation needs),
:mod:`l3ae_dist.graphs.batch_scoring` (one model, many users) and
:mod:`l3ae_dist.graphs.weight_entries` (single entries of B).
"""

from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Literal

import numpy as np

from l3ae_dist.data.features import DenseRows, Rows, open_rows
from l3ae_dist.linalg.arrays import Floats
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.workspace import Workspace

if TYPE_CHECKING:
    from pydantic import TypeAdapter

Part = Literal["collaborative", "semantic"]


@dataclass(frozen=True, slots=True)
class MatrixTerm:
    """The term ``(x A) diag(scale)`` of a tiled matrix A.

    Parameters
    ----------
    path
        A, n x n in tiles.
    scale
        n x 1 array, one factor for each column, or one number for all.
    part
        What the term counts as in an explanation.
    symmetric
        Whether only the lower tiles of A are stored.
    """

    path: str
    scale: str | float
    part: Part = "collaborative"
    symmetric: bool = True


@dataclass(frozen=True, slots=True)
class ProductTerm:
    """The term ``weight (x L) R'`` of two narrow arrays.

    Parameters
    ----------
    left, right
        L and R, n x d by item rows; features (also sparse ones) or arrays of the model.
    weight
        One factor for all.
    part
        What the term counts as in an explanation.
    """

    left: str
    right: str
    weight: float = 1.0
    part: Part = "semantic"


@dataclass(frozen=True, slots=True)
class ScoreTerms:
    """The terms whose sum is a model's scores.

    Parameters
    ----------
    name
        Of the model.
    matrices, products
        Its terms.
    diagonal
        e: one number, or the path of an n x 1 array.
    """

    name: str
    matrices: tuple[MatrixTerm, ...] = ()
    products: tuple[ProductTerm, ...] = ()
    diagonal: str | float = 1.0

    @property
    def diagonal_part(self) -> Part:
        """The part that the diagonal counts as: it cancels that of a collaborative matrix."""
        return "collaborative" if any(m.part == "collaborative" for m in self.matrices) else "semantic"

    def paths(self) -> list[str]:
        """List every array that the terms name, each once."""
        found = [value for m in self.matrices for value in (m.path, m.scale)]
        found += [value for p in self.products for value in (p.left, p.right)]
        return list(dict.fromkeys(path for path in [*found, self.diagonal] if isinstance(path, str)))

    def document(self) -> dict[str, object]:
        """Return the terms as JSON-like values."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: object) -> "ScoreTerms":
        """Rebuild the terms from what :meth:`document` returned."""
        return _adapter().validate_python(document)


@cache
def _adapter() -> "TypeAdapter[ScoreTerms]":
    from pydantic import TypeAdapter  # workers score without it

    return TypeAdapter(ScoreTerms)


def terms_of_part(model: ScoreTerms, part: Part) -> ScoreTerms:
    """Return the collaborative or the semantic terms of a model, which score its part alone."""
    return replace(
        model,
        matrices=tuple(term for term in model.matrices if term.part == part),
        products=tuple(term for term in model.products if term.part == part),
        diagonal=model.diagonal if model.diagonal_part == part else 0.0,
    )


class TermArrays:
    """The arrays that terms name, opened once; each is known by its path."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._matrices: dict[str, ChunkArray] = {}
        self._rows: dict[str, Rows] = {}

    def matrix(self, path: str) -> ChunkArray:
        """Open an n x n matrix in tiles."""
        if path not in self._matrices:
            self._matrices[path] = ChunkArray.open(self._workspace, path)
        return self._matrices[path]

    def features(self, path: str) -> Rows:
        """Open an n x d array, read by item rows."""
        if path not in self._rows:
            self._rows[path] = open_rows(self._workspace, path)
        return self._rows[path]

    def vector(self, path: str | float, rows: slice) -> Floats:
        """Read entries of an n x 1 array, or repeat a number for all of them; (rows,) float64."""
        if isinstance(path, str):
            found = self.features(path)
            assert isinstance(found, DenseRows)
            return found.item_rows(rows.start, rows.stop)[:, 0].astype(np.float64)
        return np.full(rows.stop - rows.start, float(path))
