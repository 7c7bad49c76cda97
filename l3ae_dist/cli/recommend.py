"""What `recommend` and `explain` print and write."""

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from l3ae_dist.cli.common import call_with_ids
from l3ae_dist.errors import ConfigError, WorkspaceError

if TYPE_CHECKING:
    from l3ae_dist.model.fitted import FittedModel

Whom = tuple[list[str], bool, str | None]
"""User ids, whether all users, and a file of histories: one of the three."""


def recommend_to_screen(
    model: "FittedModel", whom: Whom, allow: str | None, block: str | None, options: dict[str, Any]
) -> Any:
    """The whole table; :class:`ConfigError` for all users."""
    if whom[1]:
        raise ConfigError("--all writes a file; name it with --output.")
    return _call(model.recommend, whom, {**options, **_lists(allow, block)})


def recommend_to_file(
    model: "FittedModel",
    output: str,
    whom: Whom,
    allow: str | None,
    block: str | None,
    options: dict[str, Any],
) -> dict[str, Any]:
    """Write Parquet, one row group for each batch of users; the file appears when it is complete."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    started = time.perf_counter()
    batches = _call(model.recommend_batches, whom, {**options, **_lists(allow, block)})
    rows = users = 0
    with _complete_file(output) as file:
        writer = None
        for frame in batches:
            table = pa.Table.from_pandas(frame, preserve_index=False)
            if writer is None:
                schema = _schema(model, frame, bool(options["return_reasons"]))
                writer = pq.ParquetWriter(file, schema)
            writer.write_table(table.cast(writer.schema))
            rows += len(frame)
            users += frame["user_id"].nunique()
        if writer is not None:
            writer.close()
    seconds = time.perf_counter() - started
    return {
        "output": output,
        "users": users,
        "rows": rows,
        "seconds": round(seconds, 3),
        "users_per_second": round(users / max(seconds, 1e-9), 1),
    }


def _call(call: Any, whom: Whom, options: dict[str, Any]) -> Any:
    users, everyone, histories = whom
    if bool(users) + everyone + (histories is not None) != 1:
        raise ConfigError("name users, or give --all, or --histories FILE: one of the three.")
    if users:
        return call_with_ids(lambda ids: call(ids, **options), users)
    return call(None if histories is None else _read_table(histories, "histories"), **options)


def _lists(allow: str | None, block: str | None) -> dict[str, Any]:
    given = {"items": allow, "filter_items": block}
    return {name: _read_table(path, name) for name, path in given.items() if path is not None}


def _read_table(path: str, what: str) -> Any:
    import pandas as pd

    from l3ae_dist.data.readers import partitions

    return pd.concat(partitions(path, None, what), ignore_index=True)


def _schema(model: "FittedModel", frame: Any, reasons: bool) -> Any:
    """The same for every batch, also for one without rows."""
    import pyarrow as pa

    item = pa.int64() if model.dataset.item_ids(0, 1).dtype.kind in "iu" else pa.string()
    user = pa.int64() if frame["user_id"].dtype.kind in "iu" else pa.string()
    kinds = {"user_id": user, "item_id": item, "title": pa.string(), "rank": pa.int32()}
    kinds["score"] = pa.float32() if model.dtype == "float32" else pa.float64()
    if reasons:
        parts = {"collaborative": pa.float64(), "semantic": pa.float64(), "total": pa.float64()}
        kinds["reasons"] = pa.list_(pa.struct({"item_id": item, "title": pa.string(), **parts}))
    return pa.schema(kinds)


@contextmanager
def _complete_file(output: str) -> Iterator[Any]:
    """A file that is written under another name and renamed at the end; removed when that fails."""
    import fsspec

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


def explanation_table(user: str, item: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """What each item of the history adds to a score, and the score as the last line."""
    table = Table(title=f"Why item {escape(item)} scores as it does for user {escape(user)}")
    table.add_column("because of")
    parts = ("collaborative", "semantic", "total")
    for name in parts:
        table.add_column(name, justify="right")
    for row in rows:
        label = f"{row['title']} ({row['item_id']})"
        table.add_row(escape(label), *(f"{row[name]:+.4f}" for name in parts))
    table.add_section()
    sums = {name: sum(row[name] for row in rows) for name in parts}
    table.add_row("score", *(f"{sums[name]:+.4f}" for name in parts), style="bold")
    return table
