"""The vocabulary of stages: plan, task graphs, events and completion records agree."""

import pytest

from l3ae_dist.errors import WorkspaceVersionError
from l3ae_dist.graphs.cholesky import CholeskyGraph
from l3ae_dist.graphs.inverse import InverseGraph, TriangularInverseGraph
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.storage.documents import sealed_header
from l3ae_dist.storage.headers import root_header
from l3ae_dist.storage.stages import TILE_STAGES, Stage
from l3ae_dist.storage.workspace import Workspace

GRID = TileGrid(8, 2)


def test_the_tile_stages_are_named_alike_in_the_graphs():
    graphs = (CholeskyGraph(GRID, 1), TriangularInverseGraph(GRID), InverseGraph(GRID))
    assert tuple(graph.stage for graph in graphs) == TILE_STAGES


def test_a_stage_is_written_as_its_value(tmp_path):
    workspace = Workspace.create(tmp_path / "w")
    workspace.mark_stage(Stage.CERTIFIED, "id", {}, {})
    assert workspace.list_docs("stages") == ["stages/certified/id"]
    assert workspace.require_stage(Stage.CERTIFIED, "id").stage == "certified"
    workspace.reopen_stage(Stage.CERTIFIED, "id")
    assert workspace.stage_done(Stage.CERTIFIED, "id") is None


@pytest.mark.parametrize("version", [2, 99])
def test_a_workspace_of_another_format_is_refused_with_the_versions_and_a_way_out(tmp_path, version):
    Workspace.create(tmp_path / "w")
    (tmp_path / "w/zarr.json").write_bytes(sealed_header("", root_header(version)))
    told = rf"format {version}, this version reads 3 and 4; use the version that"
    with pytest.raises(WorkspaceVersionError, match=told):
        Workspace.open(tmp_path / "w")
