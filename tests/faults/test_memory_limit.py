"""Workers that take more memory than they may, and clusters whose workers are too small."""

import re

import numpy as np
import pytest
from distributed import LocalCluster
from job import LOWER, Command, Record, assert_same_bits, configuration, settings, write_config

from l3ae_dist.errors import BudgetError, ClusterError
from l3ae_dist.graphs.cholesky import CholeskyGraph
from l3ae_dist.graphs.context import StageContext
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.pipeline.run import run
from l3ae_dist.runtime.backends import local
from l3ae_dist.runtime.backends.local import local_cluster
from l3ae_dist.runtime.run_graph import run_graph
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.workspace import Workspace

pytestmark = [pytest.mark.faults, pytest.mark.dask]


@pytest.mark.parametrize("size", ["900000000", "kill"], ids=["over the limit", "killed by the system"])
def test_workers_that_keep_dying_name_the_stage_and_what_to_change(tmp_path, inputs, undisturbed, size):
    """The plan of 329 MiB fits 512 MiB, but a task of stage linv takes 900 MB.

    Given up after three workers; of the eleven of every other run each takes seconds to start.
    """
    where, record = tmp_path / "w", Record(tmp_path / "record")
    values = settings(inputs, where, workers=2, keep=["L", "Linv"], memory_budget="512MiB")
    config = write_config(tmp_path / "job.yaml", values)
    balloon = {"L3AE_FAULT_BALLOON": f"Linv:{size}", "L3AE_FAULT_DEATHS": "3"}
    code, out, err = Command("fit", config, record=record.path, **balloon).finish()
    assert (code, out) == (ClusterError.exit_code, "")
    (said,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert re.search(
        r"stage linv failed: 3 worker processes .* of Linv \(their memory limit is 512 MiB\)", said
    )
    assert "raise compute.memory_budget or lower compute.tile_size" in said
    assert "Traceback" not in err
    if size != "kill":
        assert re.search(r"worker .* was ended at [\d,]+ MiB, over its memory limit", err)
    assert len(set(record.written("L"))) == LOWER
    code, _, err = Command("fit", config, record=record.path).finish()
    assert code == 0, err
    assert record.after_finished() == []
    assert_same_bits(where, undisturbed)


def test_workers_of_an_existing_cluster_that_are_too_small_are_refused_with_the_numbers(tmp_path, inputs):
    with LocalCluster(
        n_workers=1, threads_per_worker=1, memory_limit="250MiB", host="127.0.0.1", dashboard_address=None
    ) as small:
        config = configuration(inputs, tmp_path / "w", cluster="address", address=small.scheduler_address)
        with pytest.raises(BudgetError, match=r"may use 250 MiB, and the plan needs \d+ MiB"):
            run(config, until="fit")
    assert not list((tmp_path / "w" / "meta").glob("done/grams"))


# with 60 MiB no worker joins, which a task waits for until it is given up; with 74 MiB a bare one does (67 MiB), but NumPy and this package need 96 MiB
@pytest.mark.parametrize("mebibytes", [60, 74])
def test_workers_without_room_for_an_interpreter_and_the_package_end_the_run_instead_of_hanging_it(
    tmp_path, mebibytes, monkeypatch
):
    if mebibytes == 60:
        monkeypatch.setattr(local, "_NO_WORKERS_SECONDS", 8)
    workspace = Workspace.create(tmp_path / "w")
    for name in ("gram", "L"):
        ChunkArray.create(workspace, name, shape=(40, 40), chunks=(16, 16), dtype="float64")
    gram, grid = np.eye(40), TileGrid(40, 16)
    for i, j in grid.lower():
        ChunkArray.open(workspace, "gram").write(i, j, gram[grid.rows(i), grid.rows(j)])
    context = StageContext(workspace.url, {"gram": "gram", "L": "L"}, grid, "float64")
    expected = rf"stage factor failed: .*memory limit is {mebibytes} MiB.*memory_budget"
    with (
        local_cluster(workers=1, threads=1, memory_budget=mebibytes * 2**20, dashboard=False) as session,
        pytest.raises(ClusterError, match=expected),
    ):
        run_graph(CholeskyGraph(context.grid), context, session.executor(), targets={"L"})
