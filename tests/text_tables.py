"""Text files that are written and read back by the tests of the intake."""

import bz2
import gzip
import io
import pickle
import re
import zipfile

import pyarrow as pa
import pytest

from l3ae_dist.config.data import TextOptions
from l3ae_dist.data.intake.open_table import open_table
from l3ae_dist.data.intake.parts import form_of
from l3ae_dist.errors import ConfigError, DataError

LONGEST = 450


def zipped(data, name="log.csv", **more):
    """A zip archive with one file and others beside it."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
        for other, content in more.items():
            archive.writestr(other, content)
    return target.getvalue()


COMPRESSED = {
    "": lambda data: data,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".zst": lambda data: pa.compress(data, codec="zstd", asbytes=True),
    ".zip": zipped,
}


def table_of(path, **options):
    """The table of a file; its parts went through pickle, as on their way to another machine."""
    table = open_table(str(path), "interactions", TextOptions(**options))
    return table, [pickle.loads(pickle.dumps(part)) for part in table.parts]


def rows_of(path, columns=None, **options):
    """All rows of a file as tuples of text."""
    table, parts = table_of(path, **options)
    names = table.columns if columns is None else columns
    return [row for part in parts for row in rows_of_part(part, names)]


def rows_of_part(part, names):
    """Rows of a part; each batch has just the columns that were asked for."""
    rows = []
    for batch in part.batches(names):
        assert batch.schema.names == list(names)
        assert {form_of(field) for field in batch.schema} <= {"written", "json"}
        rows += zip(*(column.to_pylist() for column in batch.columns), strict=True)
    return rows


def write(path, data):
    """Write bytes or text as they are, and return the path."""
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def assert_refused(path, *words, **options):
    """Assert that a file is refused in one paragraph with these words, and return it."""
    with pytest.raises((DataError, ConfigError)) as error:
        rows_of(path, **options)
    message = str(error.value)
    assert len(message) <= LONGEST, message
    assert "\n" not in message
    for word in words:
        assert re.search(word, message), f"{word!r} is not in: {message}"
    return message
