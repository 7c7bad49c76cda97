"""Parts of the GPU benchmark on small sizes and tensors of the CPU (make bench-once)."""

import json
from dataclasses import replace
from types import SimpleNamespace

import gpu
import gpu_embedding
import gpu_engine
import numpy as np
import pytest
from gpu_options import GIB, DeviceUse, Options
from report import one_gpu, publish, row


@pytest.fixture
def small(tmp_path):
    """The least of everything, on tensors of the CPU."""
    return Options(
        device="torch:cpu", sizes=(256,), tile=64, gemm=256, texts=600, actors=1, items=400,
        users=3000, memory_budget=2 * GIB, shared=str(tmp_path), disk=str(tmp_path),
    )  # fmt: skip


def test_kernels_are_weighted_as_in_a_fit(small):
    details = {}
    rows = gpu_engine.kernels(small, details)
    assert (rows[0]["target"], rows[0]["peer"]) == (0.8, details["sgemm"])
    assert len(rows) == 1 + len(details["tflops"]) + 3
    rates = [rate for name, rate in details["tflops"].items() if name in details["flops"]]
    assert min(rates) <= rows[0]["ours"] <= max(rates)


def test_the_engine_is_measured_in_memory_beside_torch(small, tmp_path, monkeypatch):
    details = {}
    rows = gpu_engine.memory(small, details)
    assert len(rows) == 5
    assert all(line["ours"] > 0 and line["peer"] > 0 for line in rows)
    assert rows[2]["ours"] < 1e-3
    assert list(tmp_path.iterdir()) == []
    assert list(details) == ["256", "256, float64 arithmetic"]
    monkeypatch.setattr(gpu_engine, "in_float64", lambda *given: pytest.fail("float64 was left out"))
    monkeypatch.setattr(gpu_engine, "summary", lambda found: {})
    monkeypatch.setattr(gpu_engine, "in_kernels", lambda found: 0.5)
    monkeypatch.setattr(gpu_engine, "run_peer", lambda *given, **values: {"seconds": 1.0, "residual": 1e-4})
    monkeypatch.setattr(gpu_engine, "solved", lambda *given: SimpleNamespace(seconds=1.0, residual=1e-4))
    narrow = gpu_engine.memory(replace(small, wide=False, sizes=(65_536,)), details)
    assert [line["target"] for line in narrow] == [1.0, None, None]


def test_the_engine_is_measured_on_the_disk_beside_its_rate(small, monkeypatch, tmp_path):
    monkeypatch.setattr(gpu_engine, "disk_rates", lambda folder: (1e9, 2e9))
    details = {}
    written, read, ours, alone = gpu_engine.disk(small, details)
    assert (written["ours"], read["ours"], ours["target"], alone["target"]) == (1.0, 2.0, 1.2, None)
    assert ours["peer"] >= alone["peer"] > 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.ray
def test_texts_are_embedded_by_actors_as_plain_encode_does(small, monkeypatch, tmp_path):
    def tiny(folder):
        return gpu_embedding.make_encoder(folder, num_hidden_layers=1, vocab_size=2000), "one layer"

    monkeypatch.setattr(gpu_embedding, "encoder_folder", tiny)
    details = {}
    rows = {line["name"]: line for line in gpu_embedding.embedding(small, details)}
    rate = next(line for name, line in rows.items() if "embedded by Ray actors, one layer" in name)
    assert (rate["target"], rate["peer"]) == (0.95, details["encode"]["best"])
    assert details["ours"]["devices"] == ["cpu"]
    assert details["ours"]["chunks"] == 2
    assert rows["smallest cosine of a row and that of plain encode"]["ours"] > 0.999999
    assert rows["largest difference of their entries"]["ours"] < 1e-5
    assert details["cosine of neighbours"] < 0.99  # other texts have other rows
    assert list(tmp_path.iterdir()) == []


def test_the_encoder_is_made_where_no_package_has_one(monkeypatch, tmp_path):
    monkeypatch.setattr(gpu_embedding, "find_spec", lambda name: None)
    monkeypatch.setitem(gpu_embedding.MINILM, "num_hidden_layers", 1)
    folder, kind = gpu_embedding.encoder_folder(tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert kind.startswith("random weights")
    assert (config["hidden_size"], config["vocab_size"]) == (384, 30_522)
    from transformers import AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(folder)(gpu_embedding.titles(50))["input_ids"]
    lengths = [len(one) - 2 for one in tokens]
    assert lengths == [len(title.split()) for title in gpu_embedding.titles(50)]  # a token for each word


def test_texts_are_distinct_and_always_the_same():
    found = gpu_embedding.titles(5000)
    assert len(set(found)) == 5000
    assert found[:100] == gpu_embedding.titles(100)
    assert 6 < np.mean([len(text.split()) for text in found]) < 12


@pytest.mark.dask
def test_a_fit_is_timed_from_the_training_matrix_to_the_certificate(small, tmp_path):
    details = {}
    rows = {line["name"]: line for line in gpu.fit(small, details)}
    assert rows["training matrix to certified model, 400 items, 3000 users"]["target"] is None
    assert rows["relative residual of the fit, against its tolerance"]["met"] is True
    assert rows["peak memory of the fit's worker, against the projected"]["met"] is True
    assert details["interactions"] == 60_000
    assert details["certificate"]["residual"] > 0
    assert list(tmp_path.iterdir()) == []


def test_the_published_time_stands_beside_the_fit_of_its_size_alone():
    stages = {name: {"seconds": 10.0} for name in ("factor", "linv", "invert")}
    result = {
        "stages": stages, "certificate": {"residual": 1e-5, "tolerance": 1e-3},
        "peak_memory_bytes": {"worker_max": GIB}, "plan": {"projected_peak_bytes": 2 * GIB},
    }  # fmt: skip
    from gpu_fit import fit_rows

    rows = fit_rows(Options(), 111.0, result)
    assert (rows[0]["target"], rows[0]["met"]) == (120, True)
    assert (rows[1]["peer"], rows[1]["ratio"]) == (222 * 60, 120.0)
    assert len(fit_rows(Options(items=1000), 1.0, result)) == len(rows) - 1


def test_device_memory_stands_beside_its_limit():
    from gpu_fit import device_rows

    use = DeviceUse(total=80 * GIB, free=78 * GIB, peak=60 * GIB)
    free, whole = device_rows(Options(), use)
    assert free["peer"] == pytest.approx(0.9 * 78)
    assert (whole["ours"], whole["peer"], whole["met"]) == (60.0, 80.0, True)
    limited, _ = device_rows(Options(device_memory=64 * GIB), use)
    assert (limited["peer"], "compute.device_memory" in limited["name"]) == (64.0, True)
    assert device_rows(Options(device="torch:cpu"), use) == []


def part(name, device, value):
    def run(options, details):
        details["seen"] = options.items
        return [row(f"{name} of a device", value, "s")]

    return gpu.Part(run, lambda options: 3.0)


def test_parts_keep_the_device_that_each_was_measured_on(small, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("L3AE_BENCHMARK_RESULTS", str(tmp_path))
    monkeypatch.setattr(gpu, "PARTS", {name: part(name, "", 1.0) for name in ("kernels", "fit")})
    publish("gpu", [], device="NVIDIA OLD", parts={"kernels": [row("kernels of before", 2.0, "s")]})
    gpu.run_parts(["fit"], small)
    parts = json.loads((tmp_path / "gpu.json").read_text())["parts"]
    assert {name: one["device"] for name, one in parts.items()} == {
        "kernels": "NVIDIA OLD", "fit": "torch:cpu"}  # fmt: skip
    assert parts["fit"]["details"] == {"seen": 400}
    assert "fit, about 3 s" in capsys.readouterr().out
    table = one_gpu()
    assert "**kernels**, NVIDIA OLD. Measured on " in table
    assert "**fit**, torch:cpu. Measured on " in table
    assert table.index("| kernels of before | 2 s |") < table.index("| fit of a device | 1 s |")
    gpu.run_parts(["kernels"], small)
    parts = json.loads((tmp_path / "gpu.json").read_text())["parts"]
    assert [(name, one["device"]) for name, one in parts.items()] == [
        ("kernels", "torch:cpu"), ("fit", "torch:cpu")]  # fmt: skip


def test_all_parts_fit_into_a_quarter_of_an_hour():
    usual = Options()
    assert list(gpu.PARTS) == ["kernels", "memory", "disk", "embedding", "fit"]
    assert sum(one.seconds(usual) for one in gpu.PARTS.values()) < 900
    assert all(one.seconds(usual) < 600 for one in gpu.PARTS.values())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--only", "kernls"], "unknown parts kernls"), (["--sizes", "a"], "--sizes is 'a'")],
)
def test_a_wrong_option_is_a_sentence(monkeypatch, capsys, arguments, words):
    monkeypatch.setattr("sys.argv", ["gpu.py", *arguments])
    with pytest.raises(SystemExit):
        gpu.main()
    assert words in capsys.readouterr().err


def test_options_reach_the_parts(monkeypatch):
    monkeypatch.setattr("sys.argv", ["gpu.py", "--sizes", "65536", "--no-wide", "--items", "5000"])
    _, options = gpu.given_options()
    assert (options.sizes, options.wide, options.items) == ((65_536,), False, 5000)
