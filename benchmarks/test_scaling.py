"""Strong and weak scaling, once on a small size and real workers (make bench-once)."""

from scaling.jobs import Job
from scaling.simulator import rows, validate
from scaling.strong_weak import measure

from l3ae_dist.planning import calibrate
from l3ae_dist.runtime.backends.local import local_cluster


def test_the_simulator_is_compared_with_a_run_on_blocks_and_tiers_that_was_not_calibrated(monkeypatch):
    monkeypatch.setattr(calibrate, "TILES", {"cpu": (64, 128)})
    monkeypatch.setattr(calibrate, "_STORED", {64: 4, 256: 4})
    found = validate(2, 1, ((576, 96),), repeats=1)
    (case,) = found["cases"]
    assert (case["items"], case["tile"], case["workers"]) == (576, 96, 2)
    assert list(case["stages"]) == ["factor", "linv", "invert"]
    assert found["rates"]["peer_bytes_s"] > 0
    table = rows(found["cases"])
    assert [(line["name"], line["target"]) for line in table[-2:]] == [
        ("median absolute error of the simulator", 0.15),
        ("its largest absolute error", 0.30),
    ]


def test_scaling_is_measured_on_some_of_the_workers_of_a_running_cluster(tmp_path, monkeypatch):
    monkeypatch.setenv("L3AE_BENCHMARK_RESULTS", str(tmp_path / "results"))
    with local_cluster(workers=2, threads=1, memory_budget=2**30, dashboard=False) as session:
        job = Job(
            256, 1, cluster="address", address=session.client.scheduler.address, tile=64, users=100,
            per_user=5, d=4, base=str(tmp_path),
        )  # fmt: skip
        rows, details = measure(job, (1, 2), 192, repeats=1)
    assert [line["unit"] for line in rows] == ["times faster", ""]
    assert details["sizes"] == {1: 192, 2: 256}
    assert details["runs"]["weak 2"] is details["runs"]["strong 2"]  # measured once
    assert (tmp_path / "results" / "scaling.png").read_bytes()[1:4] == b"PNG"
    assert [path.name for path in tmp_path.iterdir()] == ["results"]  # the workspaces are removed
