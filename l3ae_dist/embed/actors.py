"""The Ray actor that embeds row chunks: reads texts from the workspace, writes rows to it."""

import hashlib
import os
import threading
import time
from dataclasses import dataclass
from functools import cached_property
from socket import gethostname
from typing import TYPE_CHECKING

import numpy as np

from l3ae_dist.data.dataset import Dataset
from l3ae_dist.embed.encoder_identity import identity
from l3ae_dist.embed.encoders import Encoder, EncoderConfig, load_encoder
from l3ae_dist.errors import ClusterError, ConfigError, DataError
from l3ae_dist.linalg.arrays import Array, Integers
from l3ae_dist.messages import shown
from l3ae_dist.runtime.streams import neutralise_streams
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.workspace import Workspace

if TYPE_CHECKING:
    from ray.actor import ActorHandle

# a chunk whose actor dies this often is given up; actors themselves restart without limit
_TASK_RETRIES = 4
# Chunks of an actor on a GPU: while one is encoded, the next is read and the one before is written. An actor
# on a CPU has one core, and gains nothing by it.
_AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class ActorInfo:
    """Dimension of an actor's rows, its device, the GPUs that Ray gave it, and its process."""

    dim: int
    device: str
    gpus: list[str]
    pid: int


@dataclass(frozen=True, slots=True)
class ChunkRecord:
    """Account of one row chunk; ``skipped`` when it was there already, then ``bytes`` is 0."""

    chunk: int
    rows: int
    bytes: int
    pid: int
    host: str
    gpus: list[str]
    device: str
    skipped: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class EmbedTask:
    """A row chunk to be embedded.

    Parameters
    ----------
    path, chunk
        The array that it is written to, and its number there.
    rows
        Rows of the dataset that it holds.
    """

    path: str
    chunk: int
    rows: Integers


class EmbeddingActor:
    """Encodes row chunks with one encoder on one device; :func:`start_actors` makes it a Ray actor.

    The encoder is loaded by the first call and not by the constructor: an error then reaches the
    caller as itself, where Ray would report a failing constructor as the death of the actor.

    Parameters
    ----------
    url, dataset
        Workspace and id of the dataset that holds the texts.
    options
        Encoder to load.
    encoder
        Its :func:`~l3ae_dist.embed.encoder_identity.identity` where the run is, which it must have here too.
    durable
        Whether writes are flushed to the disk before they count.
    """

    def __init__(
        self, url: str, dataset: str, options: EncoderConfig, *, encoder: str, durable: bool = False
    ) -> None:
        neutralise_streams()
        self._url = url
        self._durable = durable
        self._dataset_id = dataset
        self._options = options
        self._identity = encoder
        self._loading, self._encoding = threading.Lock(), threading.Lock()
        self._loaded: Encoder | None = None

    def describe(self) -> ActorInfo:
        """Load the encoder, and return its dimension and its device."""
        return ActorInfo(self._encoder.dim, self.device, _gpu_ids(), os.getpid())

    def embed(self, task: EmbedTask, epoch: int) -> ChunkRecord:
        """Write the embeddings of one row chunk, unless it is done; rows are never returned.

        Parameters
        ----------
        task
            Which chunk of which (n, d) float32 array, and the rows of the dataset that it holds.
        epoch
            Epoch of the lock, kept in the done-mark.

        Raises
        ------
        DataError
            When the encoder gives NaN or infinite values; names the items.
        """
        gpus, size, started = _gpu_ids(), 0, time.perf_counter()
        array = ChunkArray.open(self._workspace, task.path)
        skipped = array.find_mark(task.chunk, 0) is not None
        if not skipped:
            texts = self._dataset.texts_of(task.rows)
            with self._encoding:
                started = time.perf_counter()  # it has waited for the chunk before
                vectors = self._encoder.encode(texts)
            self._check(vectors, task.rows)
            extra = {"sha256": content_hash(texts, self._options), "gpus": gpus, "pid": os.getpid()}
            array.write(task.chunk, 0, vectors, epoch=epoch, extra=extra)
            size = vectors.nbytes
        return ChunkRecord(
            chunk=task.chunk,
            rows=len(task.rows),
            bytes=size,
            pid=os.getpid(),
            host=gethostname(),
            gpus=gpus,
            device=self.device,
            skipped=skipped,
            seconds=round(time.perf_counter() - started, 4),
        )

    @cached_property
    def device(self) -> str:
        """Device of the encoder: ``cuda`` when Ray gave this actor a GPU that torch can use, else ``cpu``."""
        import torch

        return "cuda" if _gpu_ids() and torch.cuda.is_available() else "cpu"

    @cached_property
    def _workspace(self) -> Workspace:
        return Workspace.open(self._url, durable=self._durable)

    @cached_property
    def _dataset(self) -> Dataset:
        return Dataset(self._workspace, self._dataset_id)

    @property
    def _encoder(self) -> Encoder:
        """The encoder, loaded once: an actor that was started again is asked for two chunks at a time."""
        with self._loading:
            if self._loaded is None:
                self._loaded = self._load()
            return self._loaded

    def _load(self) -> Encoder:
        if identity(self._options) != self._identity:
            raise ConfigError(
                f"the encoder {shown(self._options.model)} is another model on the node "
                f"{shown(gethostname())} than where the run is; put the same files there."
            )
        if self.device == "cpu":
            import torch

            torch.set_num_threads(1)  # one actor per core beats one actor with several threads
        return load_encoder(self._options, self.device)

    def _check(self, vectors: Array, rows: Integers) -> None:
        bad = rows[~np.isfinite(vectors).all(axis=1)]
        if len(bad):
            ids = [self._dataset.item_ids(row, row + 1).tolist()[0] for row in bad[:5].tolist()]
            raise DataError(
                f"the encoder gave NaN or infinite values for {len(bad)} item(s), first {ids}; "
                "check their text or use dtype float32."
            )


def start_actors(
    dataset: Dataset,
    options: EncoderConfig,
    *,
    chunks: int,
    num_actors: int | None = None,
    gpus: float | None = None,
) -> list["ActorHandle"]:
    """Start the embedding actors on the initialised Ray.

    Parameters
    ----------
    dataset
        Dataset whose items are embedded.
    options
        Encoder that each actor loads.
    chunks
        Number of row chunks; more actors than that are of no use.
    num_actors, gpus
        As ``count`` and ``gpus_each`` of :class:`~l3ae_dist.embed.actor_pool.ActorRequest`.

    Raises
    ------
    ClusterError
        When the cluster is smaller than one actor.
    """
    import ray

    resources = ray.cluster_resources()
    if gpus is None:
        gpus = 1.0 if resources.get("GPU", 0) >= 1 else 0.0
    kind, need = ("GPU", gpus) if gpus else ("CPU", 1.0)
    have = float(resources.get(kind, 0.0))
    if have < need:
        raise ClusterError(
            f"an embedding actor needs {need:g} {kind} and the Ray cluster has {have:g}; "
            "add a node or set compute.gpus_per_actor to 0."
        )
    count = max(1, min(num_actors or int(have / need), chunks))
    actor = ray.remote(
        num_cpus=0 if gpus else 1,
        num_gpus=gpus,
        max_restarts=-1,
        max_task_retries=_TASK_RETRIES,
        max_concurrency=_AT_ONCE if gpus else 1,
    )(EmbeddingActor)
    workspace = dataset.workspace
    durable = workspace.blobs.durable
    encoder = identity(options)
    return [
        actor.remote(workspace.url, dataset.id, options, encoder=encoder, durable=durable)
        for _ in range(count)
    ]


def content_hash(texts: list[str], options: EncoderConfig) -> str:
    """Hash texts together with the model, its prompt and its parameters."""
    digest = hashlib.sha256(options.resolved().model_dump_json().encode())
    for text in texts:
        data = text.encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def _gpu_ids() -> list[str]:
    import ray

    return [str(gpu) for gpu in ray.get_runtime_context().get_accelerator_ids().get("GPU", [])]
