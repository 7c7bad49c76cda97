"""Manifests and scripts for cluster platforms, from ``templates/`` and a cluster's shape."""

import json
import re
import shlex
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from l3ae_dist import __version__
from l3ae_dist.config.run_config import RunConfig
from l3ae_dist.deploy.cluster_shape import OBJECT_STORE_BYTES, ClusterShape
from l3ae_dist.deploy.machine_types import machine_type
from l3ae_dist.errors import ConfigError
from l3ae_dist.graphs.execute import STAGED
from l3ae_dist.messages import inline, redacted, shown
from l3ae_dist.runtime.backends.dask_session import WORKER_CONFIG
from l3ae_dist.units import GIB, MIB

if TYPE_CHECKING:
    from jinja2 import Environment

VERSIONS = {
    "python": "3.11",
    "ray": "2.60.0",
    "torch": "2.13.0",
    "dask-jobqueue": "0.9.0",
    "boto3": "1.44.8",
    "google-api-python-client": "2.202.0",
}
"""Versions that the files name; those in ``constraints.txt`` are the same there."""
PLATFORMS = {"kuberay": "kuberay", "slurm": "slurm", "ray-up": "ray_up", "dask": "dask", "docker": "docker"}
"""Folders by the platform's name on the command line."""
_WITHOUT_SHARED_DISK = ("kuberay", "ray-up")
_TEMPLATES = "templates"
_ORDINARY = re.compile(r"[A-Za-z][\w.-]*(?:/[\w.-]+)+(?::[\w.-]+)?")


@dataclass(frozen=True)
class DeployedRun:
    """The run that the files start.

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
        """Return the shell command that runs the configuration with what the plan was made for.

        Parameters
        ----------
        shape
            Of the cluster, for the workers' threads.
        path
            Of the configuration, where the command runs.
        cluster
            Kind of cluster that the run opens.
        command
            ``run``, or another command of ``l3ae-dist``.
        """
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
    """Refuse an unknown platform.

    Raises
    ------
    ConfigError
        When it is not one of :data:`PLATFORMS`.
    """
    if platform not in PLATFORMS:
        raise ConfigError(f"unknown platform {shown(platform)}; choose {', '.join(PLATFORMS)}.")


def render(platform: str, shape: ClusterShape, job: DeployedRun) -> dict[str, str]:
    """Fill the templates of a platform.

    Parameters
    ----------
    platform
        One of :data:`PLATFORMS`.
    shape
        Nodes and their resources.
    job
        The run that the files start.

    Returns
    -------
    Texts of the files by their path, such as ``kuberay/rayjob.yaml``.

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
    templates_of = {f"{folder}/{name.removesuffix('.j2')}": f"{folder}/{name}" for name in names}
    texts = {path: environment.get_template(name).render() for path, name in templates_of.items()}
    # a template without text is for another kind of plan
    return {path: text.strip("\n") + "\n" for path, text in texts.items() if text.strip()}


def _environment(shape: ClusterShape, job: DeployedRun) -> "Environment":
    """Set up the templates with what they may name."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(  # noqa: S701  (YAML and shell scripts, not HTML)
        loader=PackageLoader("l3ae_dist.deploy", _TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "gib": _per(GIB),
        "mib": _per(MIB),
        "comment": _comment,
        "quoted": json.dumps,
        "scalar": _scalar,
    }
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
        "machine": machine_type,
        "run": lambda path, **options: job.run(shape, path, **options),
    }
    return environment


def _per(unit: int) -> Callable[[int], int]:
    return lambda count: -(-count // unit)


def _comment(text: str) -> str:
    """Write a text as lines of comments, whatever it holds: YAML ends a line at more than its end."""
    wrapper = textwrap.TextWrapper(
        110, initial_indent="# ", subsequent_indent="# ", break_long_words=False, break_on_hyphens=False
    )
    return wrapper.fill(inline(redacted(text)))


def _scalar(text: str) -> str:
    """Write a name as a scalar of YAML, in quotes unless it is an ordinary one."""
    return text if _ORDINARY.fullmatch(text) else json.dumps(text)


def summary(shape: ClusterShape) -> str:
    """Describe in one line what the plan is for and what it asks for."""
    plan = shape.plan
    return (
        f"Planned for {plan.grid.n:,} items in {plan.precision}: {plan.workers} workers of "
        f"{plan.memory_budget / GIB:g} GiB and {shape.threads} threads, projected peak "
        f"{plan.peak_bytes / GIB:.1f} GiB, up to {shape.workspace_bytes / GIB:,.0f} GiB of workspace."
    )
