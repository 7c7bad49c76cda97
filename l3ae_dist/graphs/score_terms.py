"""The terms that a model's scores are the sum of: few, and the same kinds for every member of the family.

``scores(x) = sum (x diag(rows) A) diag(scale) + sum weight (x L) R' diag(scale) + x diag(e)`` with n x n
matrices A in tiles (an inverse, a product, a Gram), n x d arrays L and R, and n-vectors. Column j of the sum
predicts item j. The change of an inverse by a few users is such a product, scaled as the inverse is.
A matrix may be of the first items alone, those of a core: the other rows and columns of A are zero then.
Three modules compute with them: :mod:`l3ae_dist.graphs.shared_scoring` (many models, as evaluation needs),
:mod:`l3ae_dist.graphs.batch_scoring` (one model, many users) and
:mod:`l3ae_dist.graphs.weight_entries` (single entries of B).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse

from l3ae_dist.data.features import DenseRows, Rows, open_rows
from l3ae_dist.linalg.arrays import Array, Floats, Matrix
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.vectors import open_finished
from l3ae_dist.storage.workspace import Workspace

if TYPE_CHECKING:
    from pydantic import TypeAdapter

Part = Literal["collaborative", "semantic"]


@dataclass(frozen=True, slots=True)
class Shares:
    """The two parts that add up to a scale or a diagonal.

    Parameters
    ----------
    collaborative, semantic
        One number, or the path of an n x 1 array.
    """

    collaborative: str | float
    semantic: str | float

    def of(self, part: Part) -> str | float:
        """Return the share of a part."""
        return self.collaborative if part == "collaborative" else self.semantic


@dataclass(frozen=True, slots=True)
class MatrixTerm:
    """The term ``(x diag(rows) A) diag(scale)`` of a tiled matrix A.

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
    shares
        How the scale is divided between the parts, where the term is of both; None where all of it is of
        ``part``. Scores are made with the whole scale, and A is read once.
    rows
        n x 1 array, one factor for each row, or 1.
    """

    path: str
    scale: str | float
    part: Part = "collaborative"
    symmetric: bool = True
    shares: Shares | None = None
    rows: str | float = 1.0

    def of_part(self, part: Part) -> "MatrixTerm | None":
        """Return the term of one part alone; None where there is none."""
        if self.shares is not None:
            return replace(self, scale=self.shares.of(part), part=part, shares=None)
        return self if part == self.part else None


@dataclass(frozen=True, slots=True)
class ProductTerm:
    """The term ``weight (x L) R' diag(scale)`` of two narrow arrays.

    Parameters
    ----------
    left, right
        L and R, n x d by item rows; features (also sparse ones) or arrays of the model.
    weight
        One factor for all.
    part
        What the term counts as in an explanation.
    scale
        n x 1 array, one factor for each column, or 1.
    shares
        How the scale is divided between the parts; None where all of it is of ``part``.
    """

    left: str
    right: str
    weight: float = 1.0
    part: Part = "semantic"
    scale: str | float = 1.0
    shares: Shares | None = None

    def of_part(self, part: Part) -> "ProductTerm | None":
        """Return the term of one part alone; None where there is none."""
        if self.shares is not None:
            return replace(self, scale=self.shares.of(part), part=part, shares=None)
        return self if part == self.part else None


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
    diagonal_shares
        How e is divided between the parts; None where all of it is of :attr:`diagonal_part`.
    kept
        Diagonal of B, of which e has the whole: 0, or the path of an n x 1 array.
    """

    name: str
    matrices: tuple[MatrixTerm, ...] = ()
    products: tuple[ProductTerm, ...] = ()
    diagonal: str | float = 1.0
    diagonal_shares: Shares | None = None
    kept: str | float = 0.0

    @property
    def diagonal_part(self) -> Part:
        """The part that an undivided diagonal counts as: it cancels that of a collaborative matrix."""
        return "collaborative" if any(m.part == "collaborative" for m in self.matrices) else "semantic"

    def diagonal_of(self, part: Part) -> str | float:
        """Return the diagonal of one part alone."""
        if self.diagonal_shares is not None:
            return self.diagonal_shares.of(part)
        return self.diagonal if part == self.diagonal_part else 0.0

    def paths(self) -> list[str]:
        """List every array that the terms name, each once."""
        found = [value for m in self.matrices for value in (m.path, m.scale, m.rows)]
        found += [value for p in self.products for value in (p.left, p.right, p.scale)]
        found += [self.diagonal, self.kept]
        shared = (*(m.shares for m in self.matrices), *(p.shares for p in self.products))
        for shares in (*shared, self.diagonal_shares):
            found += [] if shares is None else [shares.collaborative, shares.semantic]
        return list(dict.fromkeys(path for path in found if isinstance(path, str)))

    @property
    def divides(self) -> bool:
        """True when the parts are known: not for a text model whose version did not divide its terms."""
        of_text = any(p.part == "semantic" for p in self.products) and self.diagonal_part == "collaborative"
        shares = (*(m.shares for m in self.matrices), self.diagonal_shares)
        apart = any(m.part == "semantic" for m in self.matrices)
        return not of_text or apart or any(one is not None for one in shares)

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
    found = (term.of_part(part) for term in model.matrices)
    products = (term.of_part(part) for term in model.products)
    return replace(
        model,
        matrices=tuple(term for term in found if term is not None),
        products=tuple(term for term in products if term is not None),
        diagonal=model.diagonal_of(part),
        diagonal_shares=None,
    )


def scaled_rows(rows: Matrix, factors: Array) -> Matrix:
    """Multiply each row with its factor, in the dtype of the rows."""
    own = factors.astype(rows.dtype)
    return rows.multiply(own[:, None]).tocsr() if sparse.issparse(rows) else rows * own[:, None]


class TermArrays:
    """The arrays that terms name, opened once; each is known by its path.

    Parameters
    ----------
    workspace
        Where they are.
    held
        (n, 1) arrays in memory by path, for vectors that are checked before they are written.
    """

    def __init__(self, workspace: Workspace, held: Mapping[str, Array] = MappingProxyType({})) -> None:
        self._workspace = workspace
        self._held = held
        self._matrices: dict[str, ChunkArray] = {}
        self._rows: dict[str, Rows] = {}

    def matrix(self, path: str) -> ChunkArray:
        """Open an n x n matrix in tiles."""
        if path not in self._matrices:
            self._matrices[path] = open_finished(self._workspace, path)
        return self._matrices[path]

    def features(self, path: str) -> Rows:
        """Open an n x d array, read by item rows."""
        if path not in self._rows:
            self._rows[path] = open_rows(self._workspace, path)
        return self._rows[path]

    def right(self, term: ProductTerm, rows: slice, dtype: npt.DTypeLike) -> Matrix:
        """Read rows of R of a product, scaled but for its weight; (rows, d).

        Parameters
        ----------
        term
            The product.
        rows
            Range of items.
        dtype
            Of the result.
        """
        right = self.features(term.right).item_rows(rows.start, rows.stop).astype(dtype)
        return right if term.scale == 1.0 else scaled_rows(right, self.vector(term.scale, rows))

    def vector(self, path: str | float, rows: slice) -> Floats:
        """Read entries of an n x 1 array, or repeat a number for all of them; (rows,) float64."""
        if isinstance(path, str) and path in self._held:
            held: Floats = self._held[path][rows, 0].astype(np.float64)
            return held
        if isinstance(path, str):
            found = self.features(path)
            assert isinstance(found, DenseRows)
            return found.item_rows(rows.start, rows.stop)[:, 0].astype(np.float64)
        return np.full(rows.stop - rows.start, float(path))
