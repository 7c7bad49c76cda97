"""The throttled store of the cluster's benchmark on a small size and real workers (make bench-once)."""

import time

from cluster_throttled import Throttle, rows


def test_a_throttle_lets_so_many_bytes_a_second_through():
    throttle, began = Throttle(1e6), time.monotonic()
    for _ in range(4):
        throttle.take(50_000)
    assert time.monotonic() - began >= 0.2


def test_peers_and_blocks_read_less_from_a_slow_store():
    speed, over, store, peers, residual = rows(n=512, tile=64, bytes_s=4e6)
    assert (speed["target"], over["target"]) == (2.0, 1.3)
    assert over["met"]
    assert 0 < store["ours"] < store["peer"]
    assert peers["ours"] > 0
    assert residual["ours"] == residual["peer"]  # the same bits
