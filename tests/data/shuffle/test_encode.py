"""Codes of ids: positions among the distinct values, by whichever way they are found."""

import numpy as np
import pyarrow as pa
import pytest

from l3ae_dist.data.intake.ids import IdKind
from l3ae_dist.data.intake.parts import Form
from l3ae_dist.data.shuffle.encode import Piece, encode
from l3ae_dist.data.shuffle.id_sets import IdRows, unite
from l3ae_dist.errors import DataError

WIDTHS = {
    "narrow": np.array([7, -3, 7, 0, 5]),
    "wide": np.array([10**9, -(10**9), 3, 10**9, 3]),
    "widest": np.array([2**63 - 1, -(2**63), 0, 0, -1]),
    "bytes": np.array([-128, 127, 0, -128], np.int8),
    "unsigned": np.array([2**32 - 1, 0, 5, 5], np.uint32),
}


def piece(values, form=Form.TYPED, origin="a"):
    return Piece(pa.array(values), form, origin)


@pytest.mark.parametrize("name", WIDTHS)
def test_integers_are_found_again_by_their_codes(name):
    values = WIDTHS[name]
    for pieces in ([piece(values)], [piece(values[:2]), piece(values[2:])]):
        found = encode(pieces, "user id", "auto")
        ids = found.ids.values.to_numpy()
        np.testing.assert_array_equal(ids[found.codes], values)
        np.testing.assert_array_equal(found.counts, np.bincount(found.codes))
        assert len(set(ids.tolist())) == len(ids) == len(set(values.tolist()))


def test_values_of_several_types_stand_in_the_order_of_the_rows():
    pieces = [piece([1, 2]), piece(["9", "1"], Form.WRITTEN), piece(np.array([2, 5], np.int8)), piece([3])]
    found = encode(pieces, "user id", "auto")
    assert found.ids.kind is IdKind.DIGITS
    assert found.ids.values.to_numpy()[found.codes].tolist() == [1, 2, 9, 1, 2, 5, 3]
    found = encode([*pieces, piece(["x"])], "user id", "auto")
    assert found.ids.kind is IdKind.TEXT
    assert found.ids.values.take(pa.array(found.codes)).to_pylist() == [
        "1",
        "2",
        "9",
        "1",
        "2",
        "5",
        "3",
        "x",
    ]


def test_an_error_names_the_part_that_it_comes_from():
    with pytest.raises(DataError, match=r"2 row\(s\) have no user id \(b.csv\)"):
        encode([piece(["x"], origin="a.csv"), piece(["y", None, None], origin="b.csv")], "user id", "auto")
    with pytest.raises(DataError, match="list"):
        encode([piece([[1], [2]])], "user id", "auto")


def test_the_kind_of_many_parts_is_that_of_one_of_them_which_is_named():
    pieces = [piece([str(number)], Form.WRITTEN, f"{number}.csv") for number in range(9)]
    assert encode(pieces, "item id", "auto").ids.kind is IdKind.DIGITS
    ids = encode([*pieces, piece(["007"], Form.WRITTEN, "9.csv")], "item id", "auto").ids
    assert (ids.kind, ids.origin) == (IdKind.TEXT, "9.csv")
    assert "007" in ids.example


@pytest.mark.parametrize("values", [[5, 1, 9], [5, 1, 10**12], ["é", "a", "z", ""]])
def test_ids_are_united_sorted_and_looked_up(values):
    ids = unite([pa.array(values), pa.array(values[1:])], pa.array(values)[:0])
    assert ids.to_pylist() == sorted(values)
    rows = IdRows(pa.array(values))
    assert rows.find(ids).tolist() == [values.index(value) for value in sorted(values)]
    other = pa.array([77] if isinstance(values[0], int) else ["q"])
    assert rows.find(pa.concat_arrays([ids[:1], other])).tolist() == [values.index(min(values)), -1]
    assert IdRows(ids[:0]).find(ids).tolist() == [-1] * len(ids)
