"""``l3ae-dist cluster render``: what a plan asks for, where the numbers come from, and every refusal."""

import json
import subprocess
import sys

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from l3ae_dist.cli import app as cli
from l3ae_dist.config.evaluated_models import evaluated_models
from l3ae_dist.config.load import make_config
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.deploy.cluster_shape import RAY_NODE_BYTES, Nodes, cluster_shape
from l3ae_dist.deploy.machine_types import machine_type
from l3ae_dist.deploy.manifests import DeployedRun, render
from l3ae_dist.errors import BudgetError, ConfigError
from l3ae_dist.pipeline.run import run
from l3ae_dist.planning.data_size import given_size
from l3ae_dist.planning.known_data import ingested_size
from l3ae_dist.planning.plan_of_config import plan_run
from l3ae_dist.storage.workspace import Workspace
from l3ae_dist.units import GIB

NUMBERS = {"items": 50_000, "users": 100_000, "interactions": 5_000_000, "dim": None}


def configured(**values):
    base = {"workspace": "s3://bucket/ws", "compute": {"workers": 6, "threads": 4, "memory_budget": "8GiB"}}
    return make_config(base | values)


def shape_of(config, **layout):
    return cluster_shape(config, given_size(config, **NUMBERS), **layout)


def compute(**values):
    return {"workers": 6, "threads": 4, "memory_budget": "8GiB"} | values


def call(*arguments):
    """The exit code, and standard output and error."""
    done = CliRunner().invoke(cli.app, ["cluster", "render", *map(str, arguments)], env={"COLUMNS": "200"})
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("workspace: s3://bucket/ws\ncompute: {workers: 2, threads: 2, memory_budget: 4GiB}\n")
    return path


SIZES = ("--items", 50_000, "--users", 100_000, "--interactions", 5_000_000)


# ---- the shape


def test_one_worker_a_node_unless_nodes_are_given():
    config = configured()
    spread, packed = shape_of(config), shape_of(config, nodes=2)
    assert (spread.solve.count, spread.solve.workers, spread.solve.cores) == (6, 1, 4)
    assert (packed.solve.count, packed.solve.workers, packed.solve.cores) == (2, 3, 12)
    assert packed.solve.memory_bytes == 3 * 8 * GIB + RAY_NODE_BYTES
    assert packed.plan == spread.plan


def test_the_last_node_may_hold_fewer_workers():
    shape = shape_of(configured(), nodes=4)
    assert (shape.solve.count, shape.solve.workers) == (4, 2)


def test_cores_become_threads_where_none_are_configured():
    config = configured(compute=compute(threads=None))
    assert shape_of(config).threads == shape_of(config).solve.cores == 8
    assert shape_of(config, nodes=3, cores=32).threads == 16


def test_embedding_on_cores_may_need_more_memory_than_the_workers():
    config = configured(compute=compute(memory_budget="2GiB"))
    shape = shape_of(config, cores=16)
    assert shape.embed is None
    assert shape.solve.memory_bytes == 16 * GIB + RAY_NODE_BYTES


def test_a_large_encoder_gets_a_gpu_and_given_embeddings_none():
    large = configured(encoder={"model": "qwen3-embedding-8b"})
    assert (shape_of(large).embed.count, shape_of(large).embed.gpus) == (1, 1)
    several = shape_of(large, gpus=6, gpus_per_node=4).embed
    assert (several.count, several.gpus) == (2, 4)
    assert shape_of(large, gpus=0).embed is None
    given = configured(encoder={"model": "qwen3-embedding-8b"}, data={"embeddings": "e.npy"})
    assert cluster_shape(given, given_size(given, **NUMBERS | {"dim": 64})).embed is None


def test_workers_that_compute_on_gpus_are_on_nodes_with_one_each():
    shape = shape_of(configured(compute=compute(device="cuda")), gpus_per_node=4)
    assert (shape.solve.count, shape.solve.workers, shape.solve.gpus) == (2, 3, 3)
    assert shape.embed is None


def test_the_workspace_holds_three_triangles_and_the_item_rows():
    config = configured(compute=compute(dtype="float32"), encoder={"model": "minilm"})
    size = given_size(config, **NUMBERS)
    shape = cluster_shape(config, size)
    n, tile = 50_000, shape.plan.grid.tile
    count = -(-n // tile)
    triangle = count * (count + 1) // 2 * tile**2 * 4
    assert shape.workspace_bytes == 3 * triangle + n * 384 * (4 + 2 * 4) + 24 * 5_000_000


def test_auto_precision_is_planned_as_float64_and_costs_twice_the_tiles():
    single = shape_of(configured(compute=compute(dtype="float32", tile_size=1000)))
    double = shape_of(configured(compute=compute(dtype="auto", tile_size=1000)))
    assert double.plan.dtype == "float64"
    tiles = [
        next(s for s in shape.plan.stages if s.name == "gram").bytes_written for shape in (single, double)
    ]
    assert tiles[1] == 2 * tiles[0]


def test_words_need_their_number_and_models_without_text_none():
    words = configured(model={"name": "collective_ease"})
    with pytest.raises(ConfigError, match="item words are not known before they are there; give --dim"):
        given_size(words, **NUMBERS)
    assert given_size(words, **NUMBERS | {"dim": 20_000}).dim == 20_000
    assert given_size(configured(model={"name": "ease"}), **NUMBERS).dim == 0
    compressed = configured(encoder={"model": "some/model"}, transform={"compress": "pca", "dim": 96})
    assert given_size(compressed, **NUMBERS).dim == 96


def test_a_tile_never_holds_more_than_all_interactions():
    size = given_size(configured(), **NUMBERS)
    assert size.widest_block(50_000) == 5_000_000
    assert size.widest_block(500) == 8 * 50_000


@pytest.mark.parametrize(
    ("nodes", "aws", "gcp"),
    [
        (Nodes(1, 4, 15 * GIB, 0), "m7i.xlarge", "n2-standard-4"),
        (Nodes(1, 4, 16 * GIB, 0), "r7i.xlarge", "n2-highmem-4"),  # the kernel keeps a part
        (Nodes(1, 16, 66 * GIB, 0), "r7i.4xlarge", "n2-highmem-16"),
        (Nodes(1, 4, 26 * GIB, 0, gpus=1), "g6.2xlarge", "g2-standard-8"),
        (Nodes(1, 16, 100 * GIB, 0, gpus=4), "g6.12xlarge", "g2-standard-48"),
    ],
)
def test_the_smallest_machine_that_holds_a_node_is_taken(nodes, aws, gcp):
    assert (machine_type("aws", nodes), machine_type("gcp", nodes)) == (aws, gcp)


# ---- where the numbers come from


def test_the_size_of_ingested_data_is_the_runs_own(tmp_path, small_tables):
    log, items = small_tables
    log.to_parquet(tmp_path / "log.parquet")
    items.to_parquet(tmp_path / "items.parquet")
    values = {
        "workspace": str(tmp_path / "ws"),
        "data": {"interactions": str(tmp_path / "log.parquet"), "items": str(tmp_path / "items.parquet")},
        "compute": {"workers": 1, "memory_budget": "1GiB", "dtype": "float64"},
    }
    config = make_config(values)
    with pytest.raises(ConfigError, match=r"size of the data is not known \(no workspace at .*give --items"):
        ingested_size(config, None)
    found = run(config, until="ingest")["dataset"]
    size = ingested_size(config, None)
    assert (size.items, size.users) == (found["n_items"], found["n_users"])
    assert (size.interactions, size.dim) == (found["nnz"]["train"], 384)
    assert size.widest_block(len(items)) == found["nnz"]["train"]
    bare = make_config(values | {"model": {"name": "ease"}})
    workspace = Workspace.open(config.workspace)
    planned = plan_run(bare, workspace, Dataset(workspace, found["id"]), None, evaluated_models(bare)).plan
    assert cluster_shape(bare, ingested_size(bare, None)).plan == planned
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(values))
    code, out, _ = call("slurm", "--plan", path, "--out", tmp_path / "out", "--json")
    assert code == 0
    assert json.loads(out)["plan"]["items"] == len(items)
    assert np.isfinite(json.loads(out)["plan"]["projected_peak_bytes"])


# ---- the command


def test_render_writes_the_files_and_says_what_they_ask_for(config, tmp_path):
    out = tmp_path / "out"
    code, stdout, stderr = call("kuberay", "--plan", config, *SIZES, "--out", out, "--image", "here/l3ae")
    assert (code, stderr) == (0, "")
    assert "Planned for 50,000 items in float64: 2 workers of 4 GiB and 2 threads" in stdout
    written = sorted(path.name for path in (out / "kuberay").iterdir())
    assert written == [
        "README.md",
        "network-policy.yaml",
        "raycluster.yaml",
        "rayjob.yaml",
        "rayservice.yaml",
        "submit.sh",
    ]
    assert "image: here/l3ae:" in (out / "kuberay/rayjob.yaml").read_text()
    assert all(str(out / "kuberay" / name) in stdout for name in written)


def test_render_again_changes_nothing_and_edited_files_are_kept(config, tmp_path):
    arguments = ("slurm", "--plan", config, *SIZES, "--out", tmp_path)
    assert call(*arguments)[0] == 0
    assert call(*arguments)[0] == 0
    script = tmp_path / "slurm/job.sbatch"
    rendered = script.read_text()
    script.write_text(rendered + "#SBATCH --partition=mine\n")
    code, _, stderr = call(*arguments)
    assert code == 2
    assert "job.sbatch differs from what would be written; give --force" in stderr
    assert "partition=mine" in script.read_text()
    assert call(*arguments, "--force")[0] == 0
    assert script.read_text() == rendered


def test_settings_change_the_plan_and_are_passed_on(config, tmp_path):
    code, _, _ = call(
        *("ray-up", "--plan", config, *SIZES, "--out", tmp_path),
        *("--set", "compute.workers=3", "--set", "model.reg_x=-50"),
    )
    assert code == 0
    text = (tmp_path / "ray_up/submit.sh").read_text()
    assert "--set compute.workers=3 " in text
    assert "--set model.reg_x=-50" in text
    document = yaml.safe_load((tmp_path / "ray_up/aws.yaml").read_text())
    assert document["available_node_types"]["solve"]["min_workers"] == 3


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("nomad", "--plan", "CONFIG", *SIZES), "unknown platform 'nomad'; choose kuberay, slurm, ray-up"),
        (("kuberay", "--plan", "none.yaml", *SIZES), "no configuration file none.yaml"),
        (("kuberay", "--plan", "CONFIG", "--items", 5), "--items, --users and --interactions go together"),
        (
            ("kuberay", "--plan", "CONFIG", *SIZES, "--set", "compute.memory_budget=330MiB"),
            "the memory budget of 330 MiB per worker is too small: at least",
        ),
        (
            (
                "kuberay",
                "--plan",
                "CONFIG",
                *SIZES,
                "--dim",
                16_000,
                "--set",
                "compute.semantic_route=woodbury",
            ),
            "and the memory budget is 4,096 MiB; raise the budget to",
        ),
        (
            ("kuberay", "--plan", "CONFIG", *SIZES, "--set", "workspace=./ws"),
            "the workspace ./ws is a path, but nodes of kuberay share no disk",
        ),
        (("slurm", "--plan", "CONFIG", *SIZES, "--nodes", 3), "--nodes is 3 but compute.workers is 2"),
        (("slurm", "--plan", "CONFIG", *SIZES, "--nodes", 1, "--cores", 3), "need 4; raise it"),
        (
            ("slurm", "--plan", "CONFIG", *SIZES, "--gpus", 1, "--set", "compute.device=cuda"),
            "--gpus is 1 but each of the 2 workers computes on one GPU",
        ),
        (
            ("ray-up", "--plan", "CONFIG", *SIZES, "--set", "compute.memory_budget=2TiB"),
            "no machine type of aws known here has 2 cores, 2050 GiB and 0 GPUs",
        ),
        (
            ("slurm", "--plan", "CONFIG", *SIZES, "--set", "encoder.model=some/model"),
            "the columns of the item embeddings are not known before they are there; give --dim.",
        ),
        (
            ("slurm", "--plan", "CONFIG", "--set", "workspace=ws"),
            "the size of the data is not known (no workspace at",
        ),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(arguments, sentence, config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, stdout, stderr = call(*(config if word == "CONFIG" else word for word in arguments))
    assert (code, stdout) == (2, "")
    assert sentence in stderr.replace("\n", " ")
    assert len(stderr.strip().splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["run.yaml"]


def test_errors_have_their_own_classes():
    with pytest.raises(BudgetError):
        shape_of(configured(compute=compute(memory_budget="100MiB")))
    with pytest.raises(ConfigError, match="unknown platform"):
        render("nomad", shape_of(configured()), DeployedRun(configured()))


def test_rendering_starts_neither_dask_nor_ray_nor_torch(config, tmp_path):
    code = (
        "import sys\nfrom l3ae_dist.cli.app import main\ntry:\n    main()\nfinally:\n"
        "    print([m for m in ('distributed', 'ray', 'torch') if m in sys.modules], file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, "cluster", "render", "kuberay", "--plan", config, *map(str, SIZES)]
    done = subprocess.run([*command, "--out", tmp_path], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
