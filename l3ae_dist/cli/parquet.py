"""A Parquet file of recommendations, written batch by batch and renamed when it is complete."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from l3ae_dist.errors import WorkspaceError

if TYPE_CHECKING:
    import pandas as pd

    from l3ae_dist.model.fitted import FittedModel


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


@contextmanager
def _complete_file(output: str) -> Iterator[IO[bytes]]:
    """Open a file that is written under another name and renamed at the end; removed when that fails."""
    fs, path = fsspec.core.url_to_fs(output)
    folder, _, name = path.rpartition("/")
    temporary = (
        f"{folder}/{name}.{uuid.uuid4().hex}.partial" if folder else f"{name}.{uuid.uuid4().hex}.partial"
    )
    try:
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
