"""The Ray actor that embeds row chunks: reads texts from the workspace, writes rows to it."""

import hashlib
import os
import time
from functools import cached_property
from socket import gethostname
from typing import Any

import numpy as np

from l3ae_dist.data.dataset import Dataset
from l3ae_dist.embed.encoders import Encoder, EncoderOptions, load_encoder
from l3ae_dist.errors import ClusterError, DataError
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.workspace import Workspace

# a chunk whose actor dies this often is given up; actors themselves restart without limit
_TASK_RETRIES = 4


class EmbeddingActor:
    """Holds one encoder on one device; made a Ray actor by :func:`start_actors`.

    The encoder is loaded by the first call and not by the constructor: an error then reaches the
    caller as itself, where Ray would report a failing constructor as the death of the actor.

    Parameters
    ----------
    url, dataset
        Where the texts are.
    options
        ``EncoderOptions`` as a dictionary.
    """

    def __init__(self, url: str, dataset: str, options: dict[str, Any]) -> None:
        self._url = url
        self._dataset_id = dataset
        self._options = EncoderOptions(**options)

    def describe(self) -> dict[str, Any]:
        """Dimension, device, logical GPUs and process id."""
        return {"dim": self._encoder.dim, "device": self.device, "gpus": _gpu_ids(), "pid": os.getpid()}

    def embed(self, path: str, chunk: int, epoch: int) -> dict[str, Any]:
        """Embed one row chunk unless it is done; returns a small record, never the rows.

        Raises
        ------
        DataError
            When the encoder gives NaN or infinite values; names the items.
        """
        started = time.perf_counter()
        array = ChunkArray.open(self._workspace, path)
        rows = array.row_range(chunk)
        record = {
            "chunk": chunk,
            "rows": rows.stop - rows.start,
            "bytes": 0,
            "pid": os.getpid(),
            "host": gethostname(),
            "gpus": _gpu_ids(),
            "device": self.device,
            "skipped": array.find_mark(chunk, 0) is not None,
        }
        if not record["skipped"]:
            texts = self._dataset.texts(rows.start, rows.stop)
            vectors = self._encoder.encode(texts)
            self._check(vectors, rows)
            extra = {"sha256": content_hash(texts, self._options), "gpus": record["gpus"], "pid": os.getpid()}
            array.write(chunk, 0, vectors, epoch=epoch, extra=extra)
            record["bytes"] = vectors.nbytes
        return {**record, "seconds": round(time.perf_counter() - started, 4)}

    @cached_property
    def device(self) -> str:
        """``cuda`` when Ray gave this actor a GPU that torch can use, else ``cpu``."""
        import torch

        return "cuda" if _gpu_ids() and torch.cuda.is_available() else "cpu"

    @cached_property
    def _workspace(self) -> Workspace:
        return Workspace.open(self._url)

    @cached_property
    def _dataset(self) -> Dataset:
        return Dataset(self._workspace, self._dataset_id)

    @cached_property
    def _encoder(self) -> Encoder:
        if self.device == "cpu":
            import torch

            torch.set_num_threads(1)  # one actor per core beats one actor with several threads
        return load_encoder(self._options, self.device)

    def _check(self, vectors: Any, rows: slice) -> None:
        bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if len(bad):
            ids = self._dataset.item_ids(rows.start, rows.stop)[bad[:5]].tolist()
            raise DataError(
                f"the encoder gave NaN or infinite values for {len(bad)} item(s), first {ids}; "
                "check their text or use dtype float32."
            )


def start_actors(
    workspace: Workspace,
    dataset: str,
    options: EncoderOptions,
    *,
    chunks: int,
    num_actors: int | None = None,
    gpus: float | None = None,
) -> list[Any]:
    """Start the pool on the initialised Ray.

    Parameters
    ----------
    workspace, dataset, options
        What the actors embed.
    chunks
        There is no use for more actors than this.
    num_actors, gpus
        As ``num_actors`` and ``num_gpus_per_actor`` of :func:`l3ae_dist.embed.run.embed_items`.

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
        max_concurrency=1,
    )(EmbeddingActor)
    return [
        actor.remote(workspace.url, dataset, options.model_dump(exclude_unset=True)) for _ in range(count)
    ]


def content_hash(texts: list[str], options: EncoderOptions) -> str:
    """Hash of the texts, the model, its prompt and parameters."""
    digest = hashlib.sha256(options.resolved().model_dump_json().encode())
    for text in texts:
        data = text.encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def _gpu_ids() -> list[str]:
    import ray

    return [str(gpu) for gpu in ray.get_runtime_context().get_accelerator_ids().get("GPU", [])]
