"""``l3ae-dist cluster``: the files that start a planned run on a cluster."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from l3ae_dist.cli.command import command
from l3ae_dist.cli.configuration import build_config
from l3ae_dist.cli.options import AnySettings, AsJson
from l3ae_dist.cli.output import output_to_stderr, print_json, tell
from l3ae_dist.errors import ConfigError

if TYPE_CHECKING:
    from l3ae_dist.config.run_config import RunConfig
    from l3ae_dist.deploy.cluster_shape import ClusterShape
    from l3ae_dist.planning.plan_inputs import DataSize

app = typer.Typer(
    no_args_is_help=True, help="Files for KubeRay, Slurm, Ray's cluster launcher, Dask and Docker."
)


@dataclass(frozen=True, slots=True)
class DataNumbers:
    """The size of data that is not ingested yet."""

    items: Annotated[int | None, typer.Option(min=1, help="Items, if the data is not ingested yet.")] = None
    users: Annotated[int | None, typer.Option(min=1, help="Users.")] = None
    interactions: Annotated[int | None, typer.Option(min=1, help="Training interactions.")] = None
    dim: Annotated[int | None, typer.Option(min=1, help="Columns of the item features.")] = None

    def size(self, config: "RunConfig") -> "DataSize":
        """Return the size of the data: as given, else of the ingested dataset."""
        from l3ae_dist.planning.data_size import given_size
        from l3ae_dist.planning.known_data import ingested_size

        given = given_size(config, self.items, self.users, self.interactions, self.dim)
        return given or ingested_size(config, self.dim)


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """The nodes of the cluster, where they are not left to the plan."""

    nodes: Annotated[int | None, typer.Option(min=1, help="Nodes of the Dask workers.")] = None
    cores: Annotated[int | None, typer.Option(min=1, help="Cores of each of them.")] = None
    gpus: Annotated[int | None, typer.Option(min=0, help="GPUs in all.")] = None
    gpus_per_node: Annotated[int, typer.Option(min=1, help="GPUs of a node.")] = 1

    def shape(self, config: "RunConfig", size: "DataSize") -> "ClusterShape":
        """Return the shape of a cluster for a run on data of this size."""
        from l3ae_dist.deploy.cluster_shape import cluster_shape

        return cluster_shape(
            config,
            size,
            nodes=self.nodes,
            cores=self.cores,
            gpus=self.gpus,
            gpus_per_node=self.gpus_per_node,
        )


@app.command()
@command
def render(
    platform: Annotated[str, typer.Argument(help="kuberay, slurm, ray-up, dask or docker.")],
    plan: Annotated[str, typer.Option("--plan", metavar="CONFIG", help="The YAML file of the run.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the files.")] = Path("cluster-files"),
    settings: AnySettings = [],  # noqa: B006  (typer copies it)
    *,
    data: DataNumbers,
    nodes: NodeOptions,
    image: Annotated[str, typer.Option(help="Container image, without its tag.")] = (
        "registry.example.com/l3ae-dist"
    ),
    force: Annotated[bool, typer.Option("--force", help="Replace files that differ.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write the files of a platform, with the nodes, memory, GPUs and disk of the run's plan."""
    from l3ae_dist.deploy.manifests import DeployedRun, check_platform, render, summary

    check_platform(platform)
    config = build_config(plan, settings)
    with output_to_stderr():
        shape = nodes.shape(config, data.size(config))
        files = render(platform, shape, DeployedRun(config, tuple(settings), image))
    written = _write(files, out, force=force)
    if as_json:
        print_json({"files": written, **_numbers(shape)})
        return
    tell(summary(shape))
    for path in written:
        tell(path)


def _write(files: Mapping[str, str], out: Path, *, force: bool) -> list[str]:
    for name, text in files.items():
        path = out / name
        if path.is_file() and not force and path.read_bytes() != text.encode():
            raise ConfigError(f"{path} differs from what would be written; give --force, or another --out.")
    for name, text in files.items():
        path = out / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            path.chmod(0o755 if text.startswith("#!") else 0o644)
        except OSError as error:
            raise ConfigError(f"cannot write {path}: {error.strerror}; choose another --out.") from error
    return [str(out / name) for name in files]


def _numbers(shape: "ClusterShape") -> dict[str, object]:
    return {
        "head": asdict(shape.head),
        "solve": asdict(shape.solve),
        "embed": None if shape.embed is None else asdict(shape.embed),
        "threads": shape.threads,
        "workspace_bytes": shape.workspace_bytes,
        "plan": shape.plan.summary(),
    }
