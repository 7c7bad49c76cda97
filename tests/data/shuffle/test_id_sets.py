"""Sets of ids, against Python's own."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l3ae_dist.data.shuffle.id_sets import IdUnion

far = st.integers(-(2**63), 2**63 - 1)
near = st.integers(-3, 40)
arrays = st.lists(st.lists(st.one_of(near, st.integers(10**6, 10**6 + 9), far), max_size=8), max_size=6)


@given(arrays)
def test_integers_are_united_as_pythons_sets_are(sets):
    union, expected = IdUnion(pa.array([], pa.int64())), set()
    for values in sets:
        union.add(pa.array(values, pa.int64()))
        expected.update(values)
    assert union.ids().to_pylist() == sorted(expected)


@given(arrays, st.integers(0, 5))
def test_ids_are_given_between_additions(sets, when):
    union, expected = IdUnion(pa.array([], pa.int64())), set()
    for i, values in enumerate(sets):
        union.add(pa.array(values, pa.int64()))
        expected.update(values)
        if i == when:
            assert union.ids().to_pylist() == sorted(expected)
    assert union.ids().to_pylist() == sorted(expected)


@pytest.mark.parametrize("step", [1, 7])
def test_ranges_that_grow_in_both_directions_are_united(step):
    union, expected = IdUnion(pa.array([], pa.int64())), set()
    for first in (500_000, 100_000, 900_000, -200_000, 2**62):
        values = range(first, first + 100_000 * step, step)
        union.add(pa.array(values, pa.int64()))
        expected.update(values)
    assert union.ids().to_pylist() == sorted(expected)
