"""Peers in the simulator: whom a tile comes from, and what it is charged to."""

import pytest

from l3ae_dist.graphs.cholesky import CholeskyGraph
from l3ae_dist.graphs.tasks import TileRef
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.planning.model_cluster import ModelCluster
from l3ae_dist.planning.rates import ASSUMED_CPU
from l3ae_dist.planning.simulated_links import Links, Peers
from l3ae_dist.storage.tier_pace import TRIED_AGAIN, TierPace, share_from_peers
from l3ae_dist.storage.tile_cache import MADE, TileCache

GRID = TileGrid(9, 1)
TILE, SIZE = TileRef("L", 0, 0), 64e6
# the task that makes the tile, and one that reads it
MAKES, READS = (CholeskyGraph(GRID).task_for(ref) for ref in (TILE, TileRef("L", 3, 0)))
RATES = ASSUMED_CPU.model_copy(update={"read_seconds": 0.0, "latency_seconds": 0.0})


class Cluster:
    """Four modelled workers, whose client is told what they hold."""

    def __init__(self, rates=RATES, **given):
        self.peers = Peers([TileCache(100) for _ in range(4)])
        self.links = Links(ModelCluster(4, rates, 0, network_bytes_s=4e9, peers=True, **given), self.peers)

    def hold(self, *workers):
        for worker in workers:
            self.peers.caches[worker].put(TILE, TILE, 1, "L", None)
            self.peers.note(MAKES, worker, self.peers.kept(MAKES, worker))

    def read(self, worker, tiles=(TILE,), told=None):
        return self.links.read(worker, SIZE, tiles, self.peers.told(READS) if told is None else told)


def test_a_tile_comes_from_a_peer_that_the_task_was_told_of_and_that_still_holds_it():
    found = Cluster()
    before = found.peers.told(READS)
    assert found.read(0).bytes_storage == SIZE
    found.hold(2)
    assert found.read(0, told=before).bytes_peers == 0
    load = found.read(0)
    assert (load.bytes_peers, load.bytes_storage) == (SIZE, 0)
    assert load.seconds == pytest.approx(SIZE / 4e9)
    assert found.read(2).bytes_peers == 0  # nobody asks himself
    told = found.peers.told(READS)
    found.peers.caches[2].resize(0)
    assert found.read(0, told=told).bytes_peers == 0


def test_both_ends_are_charged_and_the_least_busy_peer_is_asked():
    found = Cluster()
    found.hold(1, 2)
    load = found.read(0)
    found.links.add(load.over(load.seconds))
    (asked,) = load.peers
    assert [found.links.network[number] for number in (0, asked, 3 - asked, 3)] == [1, 1, 0, 0]
    assert found.read(3).peers.keys() == {3 - asked}
    assert found.read(0).seconds == pytest.approx(2 * SIZE / 4e9)
    found.links.add(load, -1)
    assert found.links.network == [0, 0, 0, 0]


@pytest.mark.parametrize(("measured", "seconds"), [(0.5e9, SIZE / 1e9), (9e9, SIZE / 4e9)])
def test_tiles_between_workers_take_the_measured_rate_of_both_ends_within_the_network(measured, seconds):
    found = Cluster(peer_bytes_s=measured)
    found.hold(2)
    assert found.read(0).seconds == pytest.approx(seconds)


@pytest.mark.parametrize(("stored", "share"), [(1e9, 1 - 1 / TRIED_AGAIN), (20e9, 1 / TRIED_AGAIN)])
def test_modelled_workers_choose_between_peers_and_workspace_as_real_ones_do(stored, share):
    rates = RATES.model_copy(update={"read_bytes_s": stored})
    found, real = Cluster(rates, peer_bytes_s=1e9), TierPace()
    found.hold(2)
    from_peer, from_workspace = SIZE / 2e9, max(SIZE / stored, SIZE / 4e9)
    found.read(0, [TileRef("gram", 0, 0)])
    real.workspace_took(from_workspace, int(SIZE))
    chosen = []
    for _ in range(10 * TRIED_AGAIN):
        chosen.append(real.prefers_peers())
        assert (found.read(0).bytes_peers > 0) == chosen[-1]
        if chosen[-1]:
            real.peers_took(from_peer, int(SIZE))
        else:
            real.workspace_took(from_workspace, int(SIZE))
    assert sum(chosen) / len(chosen) == pytest.approx(share, abs=0.01)
    assert share == share_from_peers(from_peer, from_workspace)  # which plans take


def test_what_a_worker_made_stays_before_what_it_read():
    cache = TileCache(2)
    made, read, later = (TileRef("L", i, 0) for i in range(3))
    cache.put(read, read, 1, "L", None)
    cache.put(made, made, 1, "L", MADE)
    cache.put(later, later, 1, "L", None)
    assert read in cache
    assert later not in cache
    cache.put(later, later, 1, "L", MADE)
    assert made in cache
    assert later in cache
    assert read not in cache
    cache.put(read, read, 1, "L", ("L", "i", 2))
    assert read not in cache


def test_what_a_worker_made_stays_through_the_next_stage_which_reads_it():
    """In a full cache too, as far as it is half of it."""
    cache = TileCache(4)
    made = [TileRef("L", i, 0) for i in range(4)]
    for ref in made:
        cache.put(ref, ref, 1, "L", MADE)
    for number in range(5):
        read = TileRef("L", number, 9)
        assert cache.put(read, read, 1, "Linv", ("L", "i", number))[0]
    assert [ref in cache for ref in made] == [False, False, True, True]
    for number in range(4):  # the stage after that reads other tiles
        read = TileRef("Linv", number, 0)
        assert cache.put(read, read, 1, "P", ("Linv", "j", 0))[0]
    assert not any(ref in cache for ref in made)


def test_a_lost_worker_holds_nothing():
    found = Cluster()
    found.hold(1)
    found.peers.lose(1, TileCache(100))
    assert found.peers.told(READS).of(TILE) == ()
    assert found.read(0).bytes_peers == 0
