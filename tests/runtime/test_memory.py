"""Measured memory of real processes."""

import os
import subprocess
import sys
import time

import pytest

from l3ae_dist.runtime.memory import MemorySampler, MemorySizes, process_bytes

_GROW = "import sys, time; a = b'x' * (int(sys.argv[1]) << 20); print(len(a), flush=True); time.sleep(60)"
MIB = 2**20


@pytest.fixture
def growing():
    """Start processes that hold a given number of MiB."""
    started = []

    def start(mib):
        process = subprocess.Popen([sys.executable, "-c", _GROW, str(mib)], stdout=subprocess.PIPE, text=True)
        started.append(process)
        process.stdout.readline()
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_bytes_held_by_a_process_are_seen(growing):
    small, large = growing(1), growing(101)
    assert process_bytes(large.pid) - process_bytes(small.pid) == pytest.approx(100 * MIB, rel=0.1)


def test_a_process_that_is_gone_counts_nothing(growing):
    process = growing(1)
    process.kill()
    process.wait()
    assert process_bytes(process.pid) == 0


def test_worker_max_is_of_one_worker_and_the_sum_of_all(growing):
    pids = [growing(40).pid, growing(80).pid]
    with MemorySampler({"workers": lambda: pids, "client": lambda: [os.getpid()]}) as sampler:
        pass
    peak = sampler.peak
    sizes = [process_bytes(pid) for pid in pids]
    assert peak.worker_max == pytest.approx(max(sizes), rel=0.1)
    assert peak.workers_sum == pytest.approx(sum(sizes), rel=0.1)
    assert peak.client > 10 * MIB
    assert peak.scheduler == peak.ray == 0


def test_a_peak_survives_the_end_of_its_process(growing):
    pids = []
    with MemorySampler({"ray": lambda: list(pids)}, interval=0.01) as sampler:
        process = growing(60)
        pids.append(process.pid)
        deadline = time.monotonic() + 10
        while sampler.peak.ray < 60 * MIB and time.monotonic() < deadline:
            time.sleep(0.01)
        process.kill()
        process.wait()
    assert sampler.peak.ray >= 60 * MIB


def test_a_group_that_fails_leaves_the_others_measured(caplog):
    def broken():
        raise RuntimeError("cluster is closing")

    with MemorySampler({"workers": broken, "client": lambda: [os.getpid()]}) as sampler:
        sampler.sample()
    assert sampler.peak.client > 0
    assert caplog.text.count("cluster is closing") == 1


def test_an_unknown_group_is_refused():
    with pytest.raises(ValueError, match="worker"):
        MemorySampler({"worker": list})


def test_a_peak_is_the_largest_of_each_size():
    first, second = MemorySizes(worker_max=3, client=1), MemorySizes(worker_max=2, ray=5)
    assert first.maximum(second) == MemorySizes(worker_max=3, client=1, ray=5)
