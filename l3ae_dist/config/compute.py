"""The section on computing: precision, memory and processes of a run."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from l3ae_dist.config.loopback import on_loopback
from l3ae_dist.config.members import Route
from l3ae_dist.config.scheduler_address import checked_address
from l3ae_dist.config.section import ByteSize, NotNegative, Positive, TextSection
from l3ae_dist.errors import ConfigError
from l3ae_dist.messages import shown


class ComputeConfig(TextSection):
    """Precision, memory and processes of a run."""

    dtype: Literal["auto", "float32", "float64"] = "auto"
    """Dtype that tiles are stored in; auto takes float32 where the condition number allows it."""
    arithmetic: Literal["auto", "float32", "float64"] = "auto"
    """Dtype that tiles are computed in; auto takes float64 on GPUs that are at least half as quick in it, and
    the dtype of the tiles elsewhere."""
    semantic_route: Literal["auto", Route] = "auto"
    """Semantic phase through a d x d inverse or through n x n tiles; auto takes the cheaper."""
    device: Literal["auto", "cpu", "cuda"] = "cpu"
    """Device that computes tiles; auto takes a GPU where a worker sees one. Workers of ``local`` share the
    GPUs of the machine out, one to each and in turns; those of ``ray`` ask for one each."""
    memory_budget: ByteSize = 2 * 2**30
    """Bytes per Dask worker process, interpreter included."""
    device_memory: ByteSize | None = None
    """Bytes of the memory of its GPU that a worker uses; when null nine tenths of it divided by the
    workers on that GPU, or of what is free where that is less. Tiles stay there from task to task as long as
    there is room."""
    local_directory: str | None = None
    """Folder on a fast local disk of every worker's machine, in which a worker keeps copies of tiles that it
    will read again and has no room for in memory; null for none. It is for workspaces that are slower than
    that disk, such as object stores: copies are read where that is quicker. Results do not depend on it."""
    local_size: ByteSize = 32 * 2**30
    """Bytes that the copies of a worker take there at most."""
    workers: int = Field(default=1, ge=1)
    """Dask worker processes."""
    threads: int | None = Field(default=None, ge=1)
    """BLAS threads per worker; the cores divided by the workers when null. Workers of an existing
    cluster keep the threads that they were started with."""
    tile_size: int | None = Field(default=None, ge=1)
    """Rows and columns of a tile; chosen from the memory budget when null."""
    block: int | None = Field(default=None, ge=1)
    """Tiles a side of a block that a task makes side by side, at most; chosen from the memory budget when
    null. Results do not depend on it, but for the last bits of float32 tiles computed in float64."""
    peer_reads: Literal["auto", "off"] = "auto"
    """Let workers read tiles from the memory of other workers that hold them, where that is quicker than from
    the workspace (auto, with several workers), or from the workspace alone. Results do not depend on it."""
    intermediates: Literal["auto", "keep", "memory"] = "auto"
    """Write the tiles of L and Linv, so that a run that is killed goes on where it was (keep), or hold them
    in the memory of the worker and write only those that have no room, so that it makes them again (memory;
    one worker that the run starts). auto takes memory where making them again is quicker than writing them by
    the rates of the workers, and takes minutes at most. Results do not depend on it."""
    cluster: Literal["local", "ray", "address", "synchronous"] = "local"
    """Start worker processes here, or as actors of Ray, or use an existing Dask scheduler; or run every
    task in this process, for debugging. With ray, ``workers``, ``threads`` and ``memory_budget`` come
    from the cluster's nodes unless they are set."""
    address: str | None = None
    """The scheduler's address when ``cluster`` is ``address``."""
    insecure: bool = False
    """Allow an unencrypted scheduler off this machine, and a dashboard that other machines reach."""
    dashboard: bool = True
    """Serve the Dask dashboard."""
    dashboard_address: str = Field(default="127.0.0.1:0", pattern=r"^\S*:[0-9]+$")
    """Address of the dashboard as HOST:PORT; port 0 is a free one. It asks nobody for a password, so one off
    the loopback needs ``insecure``."""
    start_timeout: Positive = 600
    """Seconds to wait for the resources of a Ray cluster, which may have to start nodes."""
    distributed_ingest_rows: int | None = Field(default=20_000_000, ge=0)
    """Rows of interactions from which the workers read and sort them (files alone; one that does not tell
    its rows counts 50 bytes for each); null for always in this process, as with one local worker."""
    keep: tuple[Literal["L", "Linv", "P"], ...] = ()
    """Factors to keep after the stage that needs them, which makes single tiles repairable; with P, the
    inverses of all ridges that are tried and not only the chosen one."""
    durable: bool = False
    """Flush every write to the disk, so that finished tiles survive a power cut."""
    store_patience: float | None = Field(default=None, ge=0, le=86400)
    """Seconds for which requests to an object store that does not answer, or asks for fewer, are repeated, in
    this process and workers that it starts; when null, ``L3AE_STORE_PATIENCE`` of the environment or 300."""
    actors: int | None = Field(default=None, ge=1)
    """Ray actors that embed; one for each GPU, or CPU where there is none, when null."""
    gpus_per_actor: NotNegative | None = None
    """GPUs of each; a fraction lets actors share one, 0 embeds on CPUs; 1 where there are GPUs when null."""
    performance_report: bool = True
    """Keep Dask's report (one HTML file) of a run of more than 5 s; needs the dashboard."""
    ray_dashboard: bool = True
    """Serve the dashboard of a Ray that this run starts (on 127.0.0.1; 0.9 GB of memory)."""

    @property
    def one_process(self) -> bool:
        """True where workers are no more than one process of this machine."""
        return self.cluster == "synchronous" or (self.cluster == "local" and self.workers == 1)

    @property
    def one_worker(self) -> bool:
        """True where one worker runs all tasks, and no other can join it."""
        return self.workers == 1 and self.cluster != "address"

    @property
    def on_gpu(self) -> bool:
        """True where workers are to compute on a GPU."""
        return self.device == "cuda"

    def check_intermediates(self) -> None:
        """Refuse to keep L and Linv in memory where that is not possible.

        Raises
        ------
        ConfigError
            With several workers, or where both are to be kept in the workspace.
        """
        if self.intermediates != "memory":
            return
        if not self.one_worker:
            raise ConfigError(
                "compute.intermediates is memory, which needs one worker that the run starts, but "
                f"compute.workers is {self.workers} and compute.cluster is {self.cluster}; set "
                "compute.intermediates=auto, or compute.workers=1 with another cluster than address"
            )
        if {"L", "Linv"} <= set(self.keep):
            raise ConfigError(
                "compute.intermediates is memory but compute.keep lists L and Linv, which are then written; "
                "leave one of them out, or set compute.intermediates=keep"
            )

    @property
    def reads_from_peers(self) -> bool:
        """True where workers may read tiles from each other; those of an existing cluster are not counted."""
        return self.peer_reads != "off" and (self.workers > 1 or self.cluster == "address")

    def ingests_on_workers(self, rows: int) -> bool:
        """Tell whether the workers ingest files of so many rows, and not this process."""
        fewest = self.distributed_ingest_rows
        return fewest is not None and rows >= fewest and not self.one_process

    @field_validator("peer_reads", mode="before")
    @classmethod
    def _off_is_a_word(cls, value: object) -> object:
        return "off" if value is False else value  # to YAML it is none

    @model_validator(mode="after")
    def _arithmetic_keeps_what_tiles_hold(self) -> "ComputeConfig":
        if self.dtype == "float64" and self.arithmetic == "float32":
            raise ConfigError(
                "compute.arithmetic is float32 but compute.dtype is float64: tiles would be stored more "
                "precisely than they are computed; set compute.arithmetic=auto, or compute.dtype=float32"
            )
        return self

    @model_validator(mode="after")
    def _intermediates_have_a_place(self) -> "ComputeConfig":
        self.check_intermediates()
        return self

    @model_validator(mode="after")
    def _address_goes_with_cluster(self) -> "ComputeConfig":
        if self.cluster == "address" and not self.address:
            raise ConfigError(
                "compute.cluster is address but compute.address is not set; set it to tls://HOST:PORT"
            )
        if self.cluster == "address":
            checked_address(str(self.address))
        elif self.address:
            raise ConfigError(
                f"compute.address is {shown(self.address)} but compute.cluster is {self.cluster}; "
                "set compute.cluster=address"
            )
        return self

    @model_validator(mode="after")
    def _dashboard_is_private(self) -> "ComputeConfig":
        if self.dashboard and not self.insecure and not on_loopback(self.dashboard_address):
            raise ConfigError(
                f"compute.dashboard_address is {shown(self.dashboard_address)}, which other machines reach, "
                "and the dashboard asks nobody for a password; use 127.0.0.1 and a tunnel, or allow it with "
                "--insecure (compute.insecure = true)."
            )
        return self
