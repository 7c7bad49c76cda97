"""Manifests and scripts for cluster platforms, from templates and a cluster's shape."""

import shlex
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from l3ae_dist import __version__
from l3ae_dist.config.run_config import RunConfig
from l3ae_dist.deploy.shape import OBJECT_STORE_BYTES, ClusterShape, Nodes
from l3ae_dist.errors import ConfigError
from l3ae_dist.graphs.execute import STAGED
from l3ae_dist.runtime.backends.dask_session import WORKER_CONFIG
from l3ae_dist.units import GIB, MIB

VERSIONS = {
    "python": "3.11",
    "ray": "2.60.0",
    "torch": "2.13.0",
    "dask-jobqueue": "0.9.0",
    "boto3": "1.44.8",
    "google-api-python-client": "2.202.0",
}
"""What the files name; those in ``constraints.txt`` are the same there."""
PLATFORMS = {"kuberay": "kuberay", "slurm": "slurm", "ray-up": "ray_up", "dask": "dask", "docker": "docker"}
"""Folders by the platform's name on the command line."""
_WITHOUT_SHARED_DISK = ("kuberay", "ray-up")
_TEMPLATES = "templates"

# Firmware and kernel keep a part of a machine's memory.
_USABLE = 0.96
# Cores, GiB and GPUs of machine types, the smaller first.
_AWS = [
    ("m7i.xlarge", 4, 16, 0),
    ("r7i.xlarge", 4, 32, 0),
    ("m7i.2xlarge", 8, 32, 0),
    ("r7i.2xlarge", 8, 64, 0),
    ("m7i.4xlarge", 16, 64, 0),
    ("r7i.4xlarge", 16, 128, 0),
    ("m7i.8xlarge", 32, 128, 0),
    ("r7i.8xlarge", 32, 256, 0),
    ("m7i.16xlarge", 64, 256, 0),
    ("r7i.16xlarge", 64, 512, 0),
    ("r7i.24xlarge", 96, 768, 0),
    ("g6.2xlarge", 8, 32, 1),
    ("g6.4xlarge", 16, 64, 1),
    ("g6.8xlarge", 32, 128, 1),
    ("g6.16xlarge", 64, 256, 1),
    ("g6.12xlarge", 48, 192, 4),
    ("g6.48xlarge", 192, 768, 8),
]
_GCP = [
    ("n2-standard-4", 4, 16, 0),
    ("n2-highmem-4", 4, 32, 0),
    ("n2-standard-8", 8, 32, 0),
    ("n2-highmem-8", 8, 64, 0),
    ("n2-standard-16", 16, 64, 0),
    ("n2-highmem-16", 16, 128, 0),
    ("n2-standard-32", 32, 128, 0),
    ("n2-highmem-32", 32, 256, 0),
    ("n2-highmem-64", 64, 512, 0),
    ("n2-highmem-80", 80, 640, 0),
    ("g2-standard-8", 8, 32, 1),
    ("g2-standard-12", 12, 48, 1),
    ("g2-standard-16", 16, 64, 1),
    ("g2-standard-32", 32, 128, 1),
    ("g2-standard-24", 24, 96, 2),
    ("g2-standard-48", 48, 192, 4),
    ("g2-standard-96", 96, 384, 8),
]


@dataclass(frozen=True)
class Job:
    """What the files are for, beside the shape of the cluster.

    Parameters
    ----------
    config
        The configuration that is run.
    settings
        ``KEY=VALUE`` from the command line, passed on to the run.
    image
        Container image without its tag.
    """

    config: RunConfig
    settings: Sequence[str] = ()
    image: str = "registry.example.com/l3ae-dist"

    def run(self, shape: ClusterShape, path: str, *, cluster: str = "ray", command: str = "run") -> str:
        """The shell command that runs the configuration at ``path`` with what the plan was made for."""
        compute = self.config.compute
        planned = [
            f"compute.cluster={cluster}",
            f"compute.workers={compute.workers}",
            f"compute.memory_budget={compute.memory_budget}",
            f"compute.threads={shape.threads}",
        ]
        if cluster == "ray":
            planned += ["compute.dashboard_address=127.0.0.1:8787", "compute.start_timeout=1800"]
        given = [setting for setting in self.settings if setting.partition("=")[0] not in _keys(planned)]
        options = [word for setting in [*planned, *given] for word in ("--set", setting)]
        return shlex.join(["l3ae-dist", command, path, *options])


def _keys(settings: Sequence[str]) -> set[str]:
    return {setting.partition("=")[0] for setting in settings}


def check_platform(platform: str) -> None:
    """Refuse what is not one of :data:`PLATFORMS` with a :class:`ConfigError`."""
    if platform not in PLATFORMS:
        raise ConfigError(f"unknown platform {platform!r}; choose {', '.join(PLATFORMS)}.")


def render(platform: str, shape: ClusterShape, job: Job) -> dict[str, str]:
    """The files of a platform by their path, such as ``kuberay/rayjob.yaml``.

    Raises
    ------
    ConfigError
        For an unknown platform, a workspace that its nodes do not share, or a node that is larger
        than any machine type.
    """
    check_platform(platform)
    workspace = job.config.workspace
    if platform in _WITHOUT_SHARED_DISK and ("://" not in workspace or workspace.startswith("file:")):
        raise ConfigError(
            f"the workspace {workspace} is a path, but nodes of {platform} share no disk and a retry gets "
            "new ones; set it to object storage, such as s3://BUCKET/PATH."
        )
    environment = _environment(shape, job)
    folder = PLATFORMS[platform]
    templates = resources.files("l3ae_dist.deploy") / _TEMPLATES / folder
    names = sorted(path.name for path in templates.iterdir() if not path.name.startswith("_"))
    found = {f"{folder}/{name.removesuffix('.j2')}": f"{folder}/{name}" for name in names}
    texts = {path: environment.get_template(name).render() for path, name in found.items()}
    # a template without text is for another kind of plan
    return {path: text.strip("\n") + "\n" for path, text in texts.items() if text.strip()}


def machine(provider: str, nodes: Nodes) -> str:
    """The smallest machine type that holds such a node.

    Raises
    ------
    ConfigError
        When there is none.
    """
    types = {"aws": _AWS, "gcp": _GCP}[provider]
    gib = nodes.memory_bytes // GIB
    fitting = [
        name
        for name, cores, memory, gpus in types
        if cores >= nodes.cores and _USABLE * memory >= gib
        if (gpus >= nodes.gpus if nodes.gpus else gpus == 0)
    ]
    if not fitting:
        raise ConfigError(
            f"no machine type of {provider} known here has {nodes.cores} cores, {gib} GiB and {nodes.gpus} "
            "GPUs; use more nodes with fewer workers each (--nodes), or a smaller memory budget."
        )
    return fitting[0]


def _environment(shape: ClusterShape, job: Job) -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(  # noqa: S701  (YAML and shell scripts, not HTML)
        loader=PackageLoader("l3ae_dist.deploy", _TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"gib": _per(GIB), "mib": _per(MIB), "comment": _comment}
    environment.globals |= {
        "shape": shape,
        "config": job.config,
        "workspace": job.config.workspace,
        "summary": summary(shape),
        "versions": VERSIONS,
        "version": __version__,
        "images": {kind: f"{job.image}:{__version__}-{kind}" for kind in ("cpu", "cuda")},
        "object_store_bytes": OBJECT_STORE_BYTES,
        "staged": STAGED,
        "worker_config": WORKER_CONFIG,
        "machine": machine,
        "run": lambda path, **options: job.run(shape, path, **options),
    }
    return environment


def _per(unit: int) -> Callable[[int], int]:
    return lambda count: -(-count // unit)


def _comment(text: str) -> str:
    return textwrap.fill(
        text, 110, initial_indent="# ", subsequent_indent="# ", break_long_words=False, break_on_hyphens=False
    )


def summary(shape: ClusterShape) -> str:
    """One line: what the plan is for and what it asks for."""
    plan = shape.plan
    return (
        f"Planned for {plan.grid.n:,} items in {plan.dtype}: {plan.workers} workers of "
        f"{plan.memory_budget / GIB:g} GiB and {shape.threads} threads, projected peak "
        f"{plan.peak_bytes / GIB:.1f} GiB, up to {shape.workspace_bytes / GIB:,.0f} GiB of workspace."
    )
