"""The dtype of arithmetic that a device's measured rates lead to."""

import pytest

from l3ae_dist.linalg import arithmetic
from l3ae_dist.linalg.arithmetic import choose_arithmetic, float64_share


@pytest.fixture(autouse=True)
def fresh():
    """A process that has measured nothing."""
    float64_share.cache_clear()
    yield
    float64_share.cache_clear()


def test_float64_is_taken_where_every_worker_is_half_as_quick_in_it():
    assert choose_arithmetic("float32", [1.1]) == "float64"
    assert choose_arithmetic("float32", [1.1, 0.5]) == "float64"
    assert choose_arithmetic("float32", [1.1, 0.49]) == "float32"
    assert choose_arithmetic("float32", []) == "float32"
    assert choose_arithmetic("float64", [0.0]) == "float64"


def test_a_cpu_counts_as_zero_without_a_measurement(monkeypatch):
    monkeypatch.setattr(arithmetic, "_gemm_seconds", lambda *given: pytest.fail("a CPU was measured"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert float64_share("cpu") == float64_share("auto") == ("cpu", 0.0)


def test_a_device_is_measured_once_in_a_process(monkeypatch):
    measured = []

    def seconds(device, dtype):
        measured.append((device.type, dtype))
        return {"float32": 1.0, "float64": 1.25}[dtype]

    monkeypatch.setattr(arithmetic, "_gemm_seconds", seconds)
    assert float64_share("torch:cpu") == float64_share("torch:cpu") == ("torch:cpu", 0.8)
    assert measured == [("cpu", "float32"), ("cpu", "float64")]


def test_products_of_tensors_are_timed(monkeypatch):
    monkeypatch.setattr(arithmetic, "MEASURED_ORDER", 256)
    monkeypatch.setattr(arithmetic, "_SECONDS", 0.002)
    name, share = float64_share("torch:cpu")
    assert name == "torch:cpu"
    assert share > 0


@pytest.mark.parametrize("error", [ImportError, AssertionError, RuntimeError])
def test_a_device_that_cannot_be_measured_keeps_the_dtype_of_the_tiles(monkeypatch, error):
    def fails(*given):
        raise error("no device")

    monkeypatch.setattr(arithmetic, "_measured", fails)
    assert float64_share("cuda") == ("cuda", 0.0)
