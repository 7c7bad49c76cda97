"""Pickles of arrays and sparse matrices: honest ones are read exactly, malformed ones get a sentence."""

import contextlib
import io
import pickle

import numpy as np
import pytest
from scipy import sparse

from l3ae_dist.data.pickles import load_restricted
from l3ae_dist.errors import DataError

FORMS = ["csr_matrix", "csc_matrix", "coo_matrix", "csr_array", "csc_array", "coo_array"]


def saved(tmp_path, value, protocol=4):
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(value, protocol))
    return path


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("form", FORMS)
def test_a_sparse_matrix_is_read_exactly(tmp_path, form, protocol):
    matrix = sparse.random(7, 5, 0.4, random_state=0, dtype=np.float32)
    read = load_restricted(saved(tmp_path, getattr(sparse, form)(matrix), protocol))
    assert np.array_equal(read.toarray(), matrix.toarray())
    assert read.dtype == np.float32
    read.sum_duplicates()


@pytest.mark.parametrize("value", [
    np.arange(6.0).reshape(2, 3),
    np.asfortranarray(np.arange(6, dtype=">i4").reshape(2, 3)),
    np.array(["a", "long"]),
    np.zeros((0, 4), np.float32),
    np.float32(2.5),
    np.ones(3, bool),
])  # fmt: skip
def test_an_array_is_read_exactly(tmp_path, value):
    read = load_restricted(saved(tmp_path, value))
    assert np.array_equal(read, value)
    assert read.dtype == value.dtype


def malformed(form, **changes):
    matrix = getattr(sparse, form)(np.eye(4, dtype=np.float32))
    matrix.__dict__.update(changes)
    return matrix


I32 = np.int32


@pytest.mark.parametrize("matrix", [
    malformed("csr_matrix", indptr=np.array([0, 1, 2, 3, 200_000_000], I32)),
    malformed("csr_matrix", indptr=np.array([0, 9, 2, 3, 4], I32)),
    malformed("csr_matrix", indptr=np.array([0, -5, 2, 3, 4], I32)),
    malformed("csr_matrix", indptr=np.array([3, 3, 3, 3, 4], I32)),
    malformed("csr_matrix", indptr=np.array([0, 4], I32)),
    malformed("csr_matrix", indptr=np.array([0.0, 1, 2, 3, 4])),
    malformed("csc_matrix", indptr=np.array([0, 1, 2, 3, 200_000_000], I32)),
    malformed("csr_matrix", indices=np.array([0, 1, 2, 4], I32)),
    malformed("csc_matrix", indices=np.array([0, 1, 2, -1], I32)),
    malformed("csr_matrix", indices=np.array([0], I32)),
    malformed("csr_matrix", indices=[0, 1, 2, 3]),
    malformed("csr_matrix", data=np.ones((2, 2), np.float32)),
    malformed("csr_matrix", data=np.array(list("abcd"))),
    malformed("csr_matrix", _shape=(4, -4)),
    malformed("csr_matrix", _shape=(4, 2**40)),
    malformed("csr_matrix", _shape=(4,)),
    malformed("coo_matrix", coords=(np.array([0, 1, 2, 4], I32), np.arange(4, dtype=I32))),
    malformed("coo_matrix", coords=(np.arange(4, dtype=I32), np.array([0, 1, 2, -1], I32))),
    malformed("coo_matrix", coords=(np.arange(3, dtype=I32), np.arange(4, dtype=I32))),
    malformed("coo_matrix", coords=(np.arange(4, dtype=I32),)),
], ids=lambda matrix: matrix.format)  # fmt: skip
def test_a_sparse_matrix_whose_indices_lie_is_refused(tmp_path, matrix):
    with pytest.raises(DataError):
        load_restricted(saved(tmp_path, matrix))


def crafted(shape, raw, *, code="f8", dtype_state=(3, "<", None, None, None, -1, -1, 0)):
    """The bytes of an array pickle with these parts (protocol 2)."""
    out = io.BytesIO()

    def part(value):
        out.write(pickle.dumps(value, 2)[2:-1])

    out.write(b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n")
    part((0,))
    part("b")
    out.write(b"tR(")
    part(1)
    part(shape)
    out.write(b"cnumpy\ndtype\n(")
    part(code)
    part(False)
    part(True)
    out.write(b"tR")
    part(dtype_state)
    out.write(b"b")
    part(False)
    part(raw)
    out.write(b"tb.")
    return out.getvalue()


def test_a_hand_made_array_pickle_is_read(tmp_path):
    path = tmp_path / "x.pkl"
    path.write_bytes(crafted((2,), np.array([1.0, 2.0]).tobytes()))
    assert load_restricted(path).tolist() == [1.0, 2.0]


@pytest.mark.parametrize("payload", [
    crafted((10**9,), b"\0" * 8),
    crafted((-1,), b"\0" * 8),
    crafted((2**62, 4), b""),
    crafted((1,), [None]),
    crafted((1,), b"\0" * 8, code="O8"),
    crafted((1,), b"\0" * 8, code="V8"),
    crafted((1,), b"\0" * 8, code="f8,O"),
])  # fmt: skip
def test_an_array_whose_parts_disagree_is_refused(tmp_path, payload):
    path = tmp_path / "x.pkl"
    path.write_bytes(payload)
    with pytest.raises(DataError):
        load_restricted(path)


def test_flags_of_a_dtype_are_not_believed(tmp_path):
    """Flags that claim Python objects would make NumPy follow the bytes as pointers."""
    path = tmp_path / "x.pkl"
    path.write_bytes(crafted((1,), b"\x41" * 8, dtype_state=(3, "<", None, None, None, -1, -1, 0x3F)))
    assert load_restricted(path).dtype == np.dtype("f8")
    assert not np.dtype("f8").hasobject


# ---- files of a few hundred bytes that ask for hours or for all memory


def dag(depth=60):
    """Tuples within tuples: in memory a few, to a hash or a repr 2^depth."""
    found = ()
    for _ in range(depth):
        found = (found, found)
    return found


def raw_array(shape, code="f4"):
    """A pickle of an array with no bytes and any shape."""
    array = np.empty(0, code)
    function, arguments, (version, _, dtype, fortran, data) = array.__reduce__()[:3]

    class Made:
        def __reduce__(self):
            return function, arguments, (version, shape, dtype, fortran, data)

    return Made()


class Encoded:
    def __reduce__(self):
        import _codecs

        return _codecs.encode, (dag(), "latin1")


class OfDtype:
    def __reduce__(self):
        return np.dtype, (dag(),)


def promised(rows):
    return sparse.coo_matrix(([1.0], ([0], [0])), shape=(rows, rows))


BOMBS = {
    "numbers that collide": {k * (2**61 - 1): None for k in range(1, 30)},
    "a text of it": Encoded(),
    "a dtype of it": OfDtype(),
    "a shape of it": raw_array(dag()),
    "a shape that multiplies a tuple": raw_array((2**30, (1, 2, 3))),
    "a shape without end": raw_array((2**31 - 1, 2**31 - 1)),
    "a matrix of 16 GiB": promised(2**31 - 1),
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_bomb_is_refused_at_once(tmp_path, name, protocol):
    path = saved(tmp_path, BOMBS[name], protocol)
    assert path.stat().st_size < 3000
    with pytest.raises(DataError):
        load_restricted(path)


# written by hand: to make them would hash them
DAG = pickle.dumps(dag(), 2)[2:-1]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("data", [b"}" + DAG + b"Ns.", b"}(" + DAG + b"Nu.", b"(" + DAG + b"Nd.",
                                  b"\x8f(" + DAG + b"\x90.", b"(" + DAG + b"\x91."])  # fmt: skip
def test_a_key_that_is_hashed_for_ever_is_refused_at_once(tmp_path, data):
    path = tmp_path / "x.pkl"
    path.write_bytes(b"\x80\x04" + data)
    assert path.stat().st_size < 360
    with pytest.raises(DataError, match=r"keys are no names|a set|a dictionary"):
        load_restricted(path)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("data", [
    b"\x80\x05\x96" + (2**34).to_bytes(8, "little") + b"x.",  # a bytearray of 16 GiB
    b"\x80\x05\x8e" + (2**34).to_bytes(8, "little") + b"x.",  # bytes
    b"\x80\x02Nr" + (2**32 - 2).to_bytes(4, "little") + b".",  # a place of the memo
    b"\x80\x04\x95" + (2**34).to_bytes(8, "little") + b"N.",  # a frame
    b"(" * 100_000 + b"d.",
])  # fmt: skip
def test_what_a_file_promises_is_not_reserved(tmp_path, data):
    import resource

    path = tmp_path / "x.pkl"
    path.write_bytes(data)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with contextlib.suppress(DataError):
        assert load_restricted(path) is None
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**18  # KiB


def test_operations_are_counted(tmp_path, monkeypatch):
    path = saved(tmp_path, [str(i) for i in range(500)])
    assert len(load_restricted(path)) == 500
    monkeypatch.setattr("l3ae_dist.data.pickles.MAX_OPCODES", 700)
    with pytest.raises(DataError, match="over 700 operations"):
        load_restricted(path)
