"""The checksum that gives the interpreter lock up is the one of the library."""

from concurrent.futures import ThreadPoolExecutor

import google_crc32c
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l3ae_dist.storage import crc32c


def in_pieces(monkeypatch):
    monkeypatch.setattr(crc32c, "_EXTEND", None)
    monkeypatch.setattr(crc32c, "_PIECE_BYTES", 1000)


@given(st.binary(max_size=5000), st.integers(0, 2**32 - 1))
def test_extending_is_the_librarys(data, crc):
    assert crc32c.extend(crc, np.frombuffer(data, np.uint8)) == google_crc32c.extend(crc, data)


@pytest.mark.parametrize("size", [0, 1, 999, 1000, 1001, 2**20 + 3])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_pieces_make_the_whole(size, dtype, monkeypatch):
    block = np.random.default_rng(size).integers(0, 100, size).astype(dtype)
    wanted = google_crc32c.value(block.tobytes())
    assert crc32c.value(block) == wanted
    in_pieces(monkeypatch)
    assert crc32c.value(block) == wanted


def test_the_published_value_of_nine_digits():
    assert crc32c.value(np.frombuffer(b"123456789", np.uint8)) == 0xE3069283


@pytest.mark.parametrize("pieces", [False, True])
def test_rows_of_a_matrix_must_be_whole(pieces, monkeypatch):
    if pieces:
        in_pieces(monkeypatch)
    matrix = np.arange(12.0).reshape(3, 4)
    assert crc32c.value(matrix) == google_crc32c.value(matrix.tobytes())
    with pytest.raises(ValueError, match="contiguous"):
        crc32c.value(matrix[:, :3])


def test_the_function_of_the_library_is_called():
    """On the platforms of the tests the C function is found, so that threads check side by side."""
    assert crc32c._EXTEND is not None


def test_many_threads_at_once():
    blocks = [np.random.default_rng(seed).integers(0, 256, 2**20 + seed, np.uint8) for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(crc32c.value, blocks))
    assert found == [google_crc32c.value(block.tobytes()) for block in blocks]
