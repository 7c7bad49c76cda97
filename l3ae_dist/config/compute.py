"""The section on computing: precision, memory and processes of a run."""

from typing import Literal

from pydantic import Field, model_validator

from l3ae_dist.config.members import Route
from l3ae_dist.config.section import ByteSize, NotNegative, Positive, TextSection
from l3ae_dist.errors import ConfigError


class ComputeConfig(TextSection):
    """Precision, memory and processes of a run."""

    dtype: Literal["auto", "float32", "float64"] = "auto"
    """Arithmetic of the tiles; auto takes float32 where the condition number allows it."""
    semantic_route: Literal["auto", Route] = "auto"
    """Semantic phase through a d x d inverse or through n x n tiles; auto takes the cheaper."""
    device: Literal["auto", "cpu", "cuda"] = "cpu"
    """Device that computes tiles; auto takes the first GPU that a worker process sees, if any."""
    memory_budget: ByteSize = 2 * 2**30
    """Bytes per Dask worker process, interpreter included."""
    workers: int = Field(default=1, ge=1)
    """Dask worker processes."""
    threads: int | None = Field(default=None, ge=1)
    """BLAS threads per worker; the cores divided by the workers when null. Workers of an existing
    cluster keep the threads that they were started with."""
    tile_size: int | None = Field(default=None, ge=1)
    """Rows and columns of a tile; chosen from the memory budget when null."""
    cluster: Literal["local", "ray", "address", "synchronous"] = "local"
    """Start worker processes here, or as actors of Ray, or use an existing Dask scheduler; or run every
    task in this process, for debugging. With ray, ``workers``, ``threads`` and ``memory_budget`` come
    from the cluster's nodes unless they are set."""
    address: str | None = None
    """The scheduler's address when ``cluster`` is ``address``."""
    insecure: bool = False
    """Allow an unencrypted scheduler off this machine."""
    dashboard: bool = True
    """Serve the Dask dashboard."""
    dashboard_address: str = Field(default="127.0.0.1:0", pattern=r"^\S*:[0-9]+$")
    """Address of the dashboard as HOST:PORT; port 0 is a free one."""
    start_timeout: Positive = 600
    """Seconds to wait for the resources of a Ray cluster, which may have to start nodes."""
    keep: tuple[Literal["L", "Linv", "P"], ...] = ()
    """Factors to keep after the stage that needs them, which makes single tiles repairable; with P, the
    inverses of all ridges that are tried and not only the chosen one."""
    durable: bool = False
    """Flush every write to the disk, so that finished tiles survive a power cut."""
    actors: int | None = Field(default=None, ge=1)
    """Ray actors that embed; one for each GPU, or CPU where there is none, when null."""
    gpus_per_actor: NotNegative | None = None
    """GPUs of each; a fraction lets actors share one, 0 embeds on CPUs; 1 where there are GPUs when null."""
    performance_report: bool = True
    """Keep Dask's report (one HTML file) of a run of more than 5 s; needs the dashboard."""
    ray_dashboard: bool = True
    """Serve the dashboard of a Ray that this run starts (on 127.0.0.1; 0.9 GB of memory)."""

    @model_validator(mode="after")
    def _address_goes_with_cluster(self) -> "ComputeConfig":
        if self.cluster == "address" and not self.address:
            raise ConfigError(
                "compute.cluster is address but compute.address is not set; set it to tls://HOST:PORT"
            )
        if self.cluster != "address" and self.address:
            raise ConfigError(
                f"compute.address is {self.address!r} but compute.cluster is {self.cluster}; "
                "set compute.cluster=address"
            )
        return self
