"""Every error a user can meet, in one place.

Each class derives from :class:`L3AEError` and from the standard exception it specialises, so that
``except ValueError`` keeps working. A message is one sentence with the offending value, the limit
and the next step; whatever was passed in, it is no longer than a paragraph (:mod:`l3ae_dist.messages`).
``exit_code`` is what the command line returns for it.
"""

from l3ae_dist.messages import paragraph


class L3AEError(Exception):
    """Base of all errors raised on purpose by this package."""

    exit_code = 1

    def __init__(self, *args: object) -> None:
        super().__init__(*(paragraph(one) if isinstance(one, str) else one for one in args))


class ConfigError(L3AEError, ValueError):
    """A configuration value is missing, unknown or out of range."""

    exit_code = 2


class BudgetError(L3AEError, MemoryError):
    """The plan needs more memory than the budget; the message holds both numbers and the fix."""

    exit_code = 2

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class DataError(L3AEError, ValueError):
    """The interactions, items or embeddings cannot be used as they are."""

    exit_code = 3


class UnknownIdError(DataError, LookupError):
    """A user or item id is not part of the catalog."""


class WorkspaceError(L3AEError, OSError):
    """The workspace cannot be opened, read or written."""

    exit_code = 4

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class WorkspaceVersionError(WorkspaceError):
    """The workspace was written by an incompatible version of the format."""


class WorkspaceLockedError(WorkspaceError):
    """Another run is writing to the workspace."""

    exit_code = 5


class DamagedTileError(WorkspaceError):
    """A stored chunk is missing, truncated or fails its checksum; names the array and the chunk."""

    exit_code = 6

    def __init__(self, message: str, *, path: str = "", i: int = -1, j: int = -1) -> None:
        super().__init__(message)
        self.path = path
        self.i = i
        self.j = j

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild_damaged_tile, (str(self), self.path, self.i, self.j))


class DamagedDocumentError(WorkspaceError):
    """A JSON document of the workspace was edited, cut or emptied; ``path`` is its place in the workspace."""

    exit_code = 6

    def __init__(self, message: str, *, path: str = "") -> None:
        super().__init__(message)
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild_damaged_document, (str(self), self.path))


class StageMissingError(WorkspaceError):
    """A stage's artifact is needed and not there (or was deleted); the message names what to run."""


class NumericalError(L3AEError, ArithmeticError):
    """The system cannot be solved to the tolerance at the chosen precision.

    Attributes
    ----------
    inputs_sound
        True when what it was computed from has been read again and found sound; the message then says so.
    """

    exit_code = 7
    inputs_sound = False

    def say_inputs_sound(self) -> None:
        """Note that the inputs are sound, and say so before the advice."""
        what, _, advice = str(self).partition("; ")
        self.args = (paragraph(f"{what}, though its inputs, read again, are sound; {advice}"),)
        self.inputs_sound = True


class NotPositiveDefiniteError(NumericalError):
    """A pivot of the Cholesky factorisation is not positive; names the tile and the global item index."""

    def __init__(self, message: str, *, tile: int | None = None, item: int | None = None) -> None:
        super().__init__(message)
        self.tile = tile
        self.item = item

    @classmethod
    def at(cls, item: int, tile: int, ridge: float, dtype: str) -> "NotPositiveDefiniteError":
        """Name the item whose pivot is not positive, and what to change.

        Parameters
        ----------
        item, tile
            Global index of the item, and its diagonal tile.
        ridge, dtype
            Ridge and arithmetic of the factorisation.
        """
        return cls(
            f"the system is not positive definite at item {item} (diagonal tile {tile}) with ridge "
            f"{ridge:g} in {dtype}; use a larger ridge or float64.",
            tile=tile,
            item=item,
        )

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild_not_positive_definite, (str(self), self.tile, self.item))


class ClusterError(L3AEError, RuntimeError):
    """The Dask or Ray cluster failed; names the stage and what to change."""

    exit_code = 8


class LostTileError(ClusterError):
    """A tile that was kept in memory alone is gone with its worker; the run makes it again by itself."""


def _rebuild_not_positive_definite(
    message: str, tile: int | None, item: int | None
) -> NotPositiveDefiniteError:
    return NotPositiveDefiniteError(message, tile=tile, item=item)


def _rebuild_damaged_tile(message: str, path: str, i: int, j: int) -> DamagedTileError:
    return DamagedTileError(message, path=path, i=i, j=j)


def _rebuild_damaged_document(message: str, path: str) -> DamagedDocumentError:
    return DamagedDocumentError(message, path=path)
