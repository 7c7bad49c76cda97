"""The embed stage: the texts of items go through a pool of Ray actors, one row chunk after the other."""

import time
from collections import deque
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from l3ae_dist.config.embedding import EncoderConfig
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.errors import ClusterError, L3AEError
from l3ae_dist.runtime.backends.ray_session import ray_session
from l3ae_dist.runtime.events import ChunkDone, Message, OnEvent, StageEnd, StageStart, ignore
from l3ae_dist.runtime.memory import MemorySampler
from l3ae_dist.storage import layout
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.fingerprint import fingerprint
from l3ae_dist.storage.stages import Stage

if TYPE_CHECKING:
    from ray import ObjectRef
    from ray.actor import ActorHandle

    from l3ae_dist.embed.actors import ActorInfo, ChunkRecord

# the second chunk waits at the actor while the first is computed, so that it never idles
_IN_FLIGHT = 2
_PATIENCE_SECONDS = 60.0
_MEMORY_INTERVAL = 1.0


def embedding_id(catalog: str, options: EncoderConfig) -> str:
    """Return the id of the embeddings of a catalog by an encoder; how texts are batched does not count."""
    return fingerprint([catalog, options.resolved().model_dump(exclude={"batch_tokens", "rows_per_chunk"})])


def embed_items(
    dataset: Dataset,
    options: EncoderConfig,
    identifier: str,
    *,
    num_actors: int | None = None,
    num_gpus_per_actor: float | None = None,
    epoch: int = 0,
    on_event: OnEvent = ignore,
) -> None:
    """Write the embeddings of all items that have none yet, on the initialised Ray or else a private one.

    When all is done already it returns at once and imports neither Ray nor torch.

    Parameters
    ----------
    dataset
        Dataset whose items are embedded, into its workspace.
    options
        Encoder, and rows of a chunk.
    identifier
        Id of the embeddings, by :func:`embedding_id`, under which their rows are stored as n x d float32.
    num_actors
        Actors to start; one per GPU, or per CPU where there is none, when not given.
    num_gpus_per_actor
        GPUs each actor asks Ray for (a fraction shares one); 1 where there are GPUs, 0 for none.
    epoch
        The lock's epoch, kept in the done-marks.
    on_event
        Called for each finished chunk.

    Raises
    ------
    DataError
        Without text, or when the model gives NaN.
    ConfigError
        When the model cannot be loaded.
    ClusterError
        When an actor does not fit the cluster, or actors keep dying.
    """
    workspace = dataset.workspace
    if workspace.stage_done(Stage.EMBED, identifier) is not None:
        return
    dataset.require_text()
    from l3ae_dist.embed.actors import start_actors

    started = time.perf_counter()
    with ray_session() as session, MemorySampler({"ray": session.pids}, interval=_MEMORY_INTERVAL) as memory:
        chunks = -(-dataset.n_items // options.rows_per_chunk)
        actors = start_actors(dataset, options, chunks=chunks, num_actors=num_actors, gpus=num_gpus_per_actor)
        pool = _Pool(actors, dataset, options, layout.embeddings(identifier), epoch, on_event)
        try:
            pool.run()
        finally:
            pool.stop()
        stats = pool.stats(time.perf_counter() - started)
        stats["ray_memory_bytes"] = memory.peak.ray
    workspace.mark_stage(Stage.EMBED, identifier, options.resolved().model_dump(), stats)


class _Pool:
    """Feeds row chunks to the actors that are up, two to each; an autoscaling cluster adds some later."""

    def __init__(
        self,
        actors: list["ActorHandle"],
        dataset: Dataset,
        options: EncoderConfig,
        path: str,
        epoch: int,
        on_event: OnEvent,
    ) -> None:
        self._actors = actors
        self._dataset = dataset
        self._rows_per_chunk = min(options.rows_per_chunk, dataset.n_items)
        self._path = path
        self._epoch = epoch
        self._on_event = on_event
        self._joining: dict[ObjectRef, ActorHandle] = {actor.describe.remote(): actor for actor in actors}
        self._running: dict[ObjectRef, ActorHandle] = {}
        self._waiting: deque[int] = deque()
        self._members: list[ActorInfo] = []
        self._done = self._total = self._embedded = 0

    def run(self) -> None:
        """Return when every chunk is done; raises what an actor raised."""
        import ray

        while not self._members or self._running:
            references = [*self._running, *self._joining]
            ready, _ = ray.wait(references, num_returns=1, timeout=_PATIENCE_SECONDS)
            for reference in ready:
                if reference in self._joining:
                    self._join(self._joining.pop(reference), _get(reference))
                else:
                    self._finish(self._running.pop(reference), _get(reference))
            if not ready and not self._members:
                message = "waiting for Ray to place an embedding actor: its CPUs or GPUs are taken"
                self._on_event(Message(stage=Stage.EMBED, message=message))
        self._on_event(StageEnd(stage=Stage.EMBED, rows=self._embedded))

    def stop(self) -> None:
        """End the actors."""
        import ray

        for actor in self._actors:
            ray.kill(actor)

    def stats(self, seconds: float) -> dict[str, object]:
        """Return the figures of the stage's completion record."""
        return {
            "rows": self._dataset.n_items,
            "embedded": self._embedded,
            "seconds": round(seconds, 3),
            "texts_per_second": round(self._embedded / max(seconds, 1e-9), 1),
            "dim": self._members[0].dim,
            "device": self._members[0].device,
            "actors": len(self._members),
        }

    def _join(self, actor: "ActorHandle", info: "ActorInfo") -> None:
        if not self._members:
            self._open(info.dim)
        self._members.append(info)
        for _ in range(_IN_FLIGHT):
            self._feed(actor)

    def _open(self, dim: int) -> None:
        """Make the array once the first actor has told the dimension, and list what is missing.

        What was begun with other row chunks goes on with those, so that no finished row is lost.
        """
        workspace, shape, rows = self._dataset.workspace, (self._dataset.n_items, dim), self._rows_per_chunk
        if workspace.has(self._path):
            begun = ChunkArray.open(workspace, self._path)
            rows = begun.chunks[0] if begun.shape == shape else rows
        array = ChunkArray.create(workspace, self._path, shape=shape, chunks=(rows, dim), dtype="float32")
        finished = array.done()
        self._total = array.grid[0]
        self._done = len(finished)
        self._waiting.extend(chunk for chunk in range(self._total) if (chunk, 0) not in finished)
        self._on_event(StageStart(stage=Stage.EMBED, done=self._done, total=self._total))

    def _feed(self, actor: "ActorHandle") -> None:
        if self._waiting:
            reference = actor.embed.remote(self._path, self._waiting.popleft(), self._epoch)
            self._running[reference] = actor

    def _finish(self, actor: "ActorHandle", record: "ChunkRecord") -> None:
        self._done += 1
        self._embedded += 0 if record.skipped else record.rows
        self._on_event(ChunkDone(stage=Stage.EMBED, done=self._done, total=self._total, **asdict(record)))
        self._feed(actor)


def _get(reference: "ObjectRef") -> Any:
    import ray

    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, L3AEError):
            raise error.cause from None
        raise ClusterError(f"embedding failed ({type(error.cause).__name__}: {error.cause}).") from error
    except ray.exceptions.RayError as error:
        raise ClusterError(
            "an embedding actor kept dying; what was embedded is kept: give each actor more memory or lower "
            f"batch_tokens, and run again ({str(error).splitlines()[0]})."
        ) from error
