"""A Parquet file of recommendations, written batch by batch and renamed when it is complete."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from l3ae_dist.errors import ConfigError, WorkspaceError
from l3ae_dist.messages import one_line, shown
from l3ae_dist.storage.partial_files import partial_name, sweep_beside

if TYPE_CHECKING:
    import pandas as pd

    from l3ae_dist.model.fitted import FittedModel


_COLUMNS = ("user_id", "item_id", "title", "rank", "score")


class RecommendationsFile:
    """An open Parquet file: one row group for each table that is written."""

    def __init__(self, model: "FittedModel", file: IO[bytes], *, reasons: bool) -> None:
        self._model, self._file, self._reasons = model, file, reasons
        self._writer: pq.ParquetWriter | None = None

    @classmethod
    @contextmanager
    def open(cls, model: "FittedModel", output: str, *, reasons: bool) -> "Iterator[RecommendationsFile]":
        """Open a file by path or URL for the recommendations of a model.

        Parameters
        ----------
        model
            Knows the types of ids and scores.
        output
            The file appears there at the end, complete; nothing remains when writing fails.
        reasons
            Whether the tables have a column ``reasons``.
        """
        with _complete_file(output) as file:
            opened = cls(model, file, reasons=reasons)
            yield opened
            opened.close()

    def write(self, frame: "pd.DataFrame") -> None:
        """Append one table; the first one decides the type of the users' ids."""
        table = pa.Table.from_pandas(frame, preserve_index=False)
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._file, self._schema(frame))
        self._writer.write_table(table.cast(self._writer.schema))

    def close(self) -> None:
        """Write the footer of the file."""
        if self._writer is not None:
            self._writer.close()

    def _schema(self, frame: "pd.DataFrame") -> pa.Schema:
        """Return the schema of every batch, also of one without rows."""
        item = pa.int64() if self._model.dataset.item_ids(0, 1).dtype.kind in "iu" else pa.string()
        user = pa.int64() if frame["user_id"].dtype.kind in "iu" else pa.string()
        kinds = {"user_id": user, "item_id": item, "title": pa.string(), "rank": pa.int32()}
        kinds["score"] = pa.float32() if self._model.dtype == "float32" else pa.float64()
        if self._reasons:
            parts = {"collaborative": pa.float64(), "semantic": pa.float64(), "total": pa.float64()}
            kinds["reasons"] = pa.list_(pa.struct({"item_id": item, "title": pa.string(), **parts}))
        return pa.schema(kinds)


def _refuse_other_files(fs: fsspec.AbstractFileSystem, path: str, output: str) -> None:
    """Refuse to write where something else than an earlier file of recommendations is."""
    try:
        if not fs.exists(path):
            return
        if fs.isdir(path):
            raise ConfigError(f"{shown(output)} is a folder; name a file to write.")
        with fs.open(path, "rb") as file:
            names = pq.read_schema(file).names if fs.size(path) else list(_COLUMNS)
    except (pa.ArrowInvalid, OSError):
        names = []
    if tuple(names) not in (_COLUMNS, (*_COLUMNS, "reasons")):
        raise ConfigError(
            f"{shown(output)} is there and is no file of recommendations, so it is left as it is; choose "
            "another path, or remove it first."
        )


@contextmanager
def _complete_file(output: str) -> Iterator[IO[bytes]]:
    """Open a file that is written under another name and renamed at the end; removed when that fails."""
    try:
        fs, path = fsspec.core.url_to_fs(output)
    except (ValueError, ImportError) as error:  # an unknown scheme, or one whose package is not installed
        reason = one_line(str(error))
        raise ConfigError(f"cannot write {shown(output)} ({reason}); give a path or a known URL.") from error
    _refuse_other_files(fs, path, output)
    folder, _, name = path.rpartition("/")
    temporary = f"{folder}/{partial_name(name)}" if folder else partial_name(name)
    try:
        if isinstance(fs, LocalFileSystem):
            sweep_beside(Path(path))
        fs.makedirs(folder, exist_ok=True)
        with fs.open(temporary, "wb") as file:
            yield file
        fs.mv(temporary, path)
    except OSError as error:
        raise WorkspaceError(
            f"cannot write {output} ({error.strerror or error}); choose another place."
        ) from error
    finally:
        if fs.exists(temporary):
            fs.rm(temporary)
