"""Hash of the values of a column, the same whatever the arrays that they come in."""

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from l3ae_dist.linalg.arrays import Array
from l3ae_dist.storage.fingerprint import fingerprint

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(slots=True)
class ColumnHash:
    """Hashes of what Arrow keeps of a column: types, places of nulls, lengths and bytes, at each depth."""

    types: dict[str, None] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    streams: "dict[str, hashlib.blake2b]" = field(default_factory=dict)

    def add(self, values: "pa.Array", start: int) -> None:
        """Take in the next values of the column, the first of which stands in row ``start``."""
        missing = start - self.counts.get("", 0)
        if missing > 0:  # parts without this column
            self._feed("absent", np.array([start, missing]))
            self.counts[""] = start
        self._add(values, "")

    def digest(self) -> str:
        """Return the hash of all values so far."""
        streams = {name: stream.hexdigest() for name, stream in self.streams.items()}
        return fingerprint([list(self.types), self.counts, streams])

    def _add(self, values: "pa.Array", place: str) -> None:
        from pyarrow import types

        values = _plain(values)
        start = self.counts.get(place, 0)
        self.counts[place] = start + len(values)
        if values.null_count:
            self._feed(f"{place}|null", start + np.flatnonzero(values.is_null()))
        if not len(values) or types.is_null(values.type):
            return
        self.types[f"{place}|{values.type}"] = None
        if types.is_struct(values.type):
            for child, below in zip(values.type, values.flatten(), strict=True):
                self._add(below, f"{place}.{child.name}")
        elif types.is_large_list(values.type):
            self._add_lengths(values, place)
            self._add(values.flatten(), f"{place}[]")
        elif types.is_large_string(values.type) or types.is_large_binary(values.type):
            self._add_bytes(values, place)
        else:
            self._add_fixed(values, place)

    def _add_lengths(self, values: "pa.Array", place: str) -> None:
        from pyarrow import compute

        lengths = compute.fill_null(compute.list_value_length(values), 0)
        self._feed(f"{place}|length", np.asarray(lengths, np.int64))

    def _add_bytes(self, values: "pa.Array", place: str) -> None:
        from pyarrow import compute, large_binary, scalar

        values = values.cast(large_binary())
        values = compute.fill_null(values, scalar(b"", large_binary())) if values.null_count else values
        _, offsets, data = values.buffers()
        bounds = np.frombuffer(offsets, np.int64)[values.offset : values.offset + len(values) + 1]
        self._feed(f"{place}|length", np.diff(bounds))
        if data is not None:
            self._feed(f"{place}|byte", np.frombuffer(data, np.uint8)[bounds[0] : bounds[-1]])

    def _add_fixed(self, values: "pa.Array", place: str) -> None:
        width = values.type.bit_width // 8
        data = np.frombuffer(values.buffers()[1], np.uint8)
        data = data[values.offset * width : (values.offset + len(values)) * width]
        if values.null_count:
            data = data.reshape(-1, width).copy()
            data[np.asarray(values.is_null())] = 0
        self._feed(f"{place}|byte", data)

    def _feed(self, stream: str, data: Array) -> None:
        if stream not in self.streams:
            self.streams[stream] = hashlib.blake2b(digest_size=16)
        self.streams[stream].update(np.ascontiguousarray(data).view(np.uint8).reshape(-1).data)


def _plain(values: "pa.Array") -> "pa.Array":
    """Return values in the one type that stands for all types of the same values."""
    import pyarrow as pa
    from pyarrow import compute, types

    kind = values.type
    if isinstance(values, pa.ExtensionArray):
        return _plain(values.storage)
    if types.is_dictionary(kind):
        return _plain(values.dictionary_decode())
    if types.is_run_end_encoded(kind):
        return _plain(compute.run_end_decode(values))
    if types.is_string(kind) or types.is_string_view(kind):
        return values.cast(pa.large_string())
    if types.is_binary(kind) or types.is_binary_view(kind):
        return values.cast(pa.large_binary())
    if types.is_boolean(kind):
        return values.cast(pa.uint8())
    if types.is_list(kind) or types.is_fixed_size_list(kind) or types.is_list_view(kind):
        return values.cast(pa.large_list(kind.value_type))
    if types.is_union(kind) or types.is_map(kind) or types.is_large_list_view(kind):
        return pa.array([repr(value) for value in values.to_pylist()], pa.large_string())
    return values
