"""The embed stage: texts that are new go through a pool of Ray actors, the rows of all others are copied."""

import time
from dataclasses import dataclass, field

import numpy as np

from l3ae_dist.config.embedding import EncoderConfig
from l3ae_dist.config.extras import require
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.embed.actor_pool import ANY_ACTORS, ActorPool, ActorRequest
from l3ae_dist.embed.actors import EmbedTask, start_actors
from l3ae_dist.embed.encoder_identity import encoder_fields, identity, pinned
from l3ae_dist.embed.reuse import KnownRows, RowOrigins, begins_with, copy_rows, find_origins, known_rows
from l3ae_dist.embed.text_digests import dataset_digests, digested, write_digests
from l3ae_dist.errors import ConfigError, DamagedTileError
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.runtime.backends.ray_session import ray_session
from l3ae_dist.runtime.events import Message, OnEvent, StageEnd, StageStart, ignore
from l3ae_dist.runtime.memory import MemorySampler
from l3ae_dist.storage import layout
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.fingerprint import fingerprint
from l3ae_dist.storage.stages import Stage

_MEMORY_INTERVAL = 1.0


def embedding_id(catalog: str, options: EncoderConfig) -> str:
    """Return the id of the embeddings of a catalog by an encoder; how texts are batched does not count."""
    return fingerprint([catalog, encoder_fields(options)])


def embed_items(
    dataset: Dataset,
    options: EncoderConfig,
    identifier: str,
    *,
    actors: ActorRequest = ANY_ACTORS,
    parent: str | None = None,
    epoch: int = 0,
    on_event: OnEvent = ignore,
) -> None:
    """Write the embeddings of all items that have none yet, on the initialised Ray or else a private one.

    A text that the workspace has an embedding of, by the same encoder with the same parameters, is not
    embedded again: its row is copied, bit by bit, whatever the other catalog and its order; and a text that
    several items share is embedded once. When nothing is new neither Ray nor torch is imported.

    Parameters
    ----------
    dataset
        Dataset whose items are embedded, into its workspace.
    options
        Encoder, and rows of a chunk.
    identifier
        Id of the embeddings, by :func:`embedding_id`, under which their rows are stored as n x d float32.
    actors
        What is asked of Ray where texts are new.
    parent
        Embeddings that come before others where several have a text; the completion record names them as
        ``parent`` when all of their rows are the first ones here.
    epoch
        The lock's epoch, kept in the done-marks.
    on_event
        Called for each finished chunk.

    Raises
    ------
    DataError
        Without text, or when the model gives NaN.
    ConfigError
        When the model cannot be loaded, is another than it was, or is of the hub and its commit unknown.
    ClusterError
        When an actor does not fit the cluster, or actors keep dying.
    """
    workspace = dataset.workspace
    if workspace.stage_held(Stage.EMBED, identifier) is not None:
        return
    dataset.require_text()
    options = pinned(options)
    started, n = time.perf_counter(), dataset.n_items
    first = [identifier] if parent is None else [identifier, parent]
    decided = _with_dtype(dataset, options, first)
    digests = dataset_digests(dataset, decided)
    if decided.dtype != "auto":
        write_digests(workspace, identifier, digests)
    work = _Embedding(dataset, decided, identifier, actors, epoch, on_event, digests)
    _complete(work, first)
    array = ChunkArray.open(workspace, layout.embeddings(identifier))
    seconds, embedded = time.perf_counter() - started, work.embedded
    stats: dict[str, object] = {
        "rows": n,
        "embedded": embedded,
        "reused": n - embedded,
        "dim": array.shape[1],
    }
    stats["encoder"] = identity(options)
    stats |= {"seconds": round(seconds, 3), "texts_per_second": round(embedded / max(seconds, 1e-9), 1)}
    if parent is not None and begins_with(array, workspace, parent):
        stats["parent"] = parent
    workspace.mark_stage(Stage.EMBED, identifier, options.model_dump(), stats | work.figures)
    if embedded < n:
        message = f"{embedded:,} of {n:,} texts embedded, the others taken over"
        on_event(Message(stage=Stage.EMBED, message=message))
    on_event(StageEnd(stage=Stage.EMBED, rows=embedded))


def _with_dtype(dataset: Dataset, options: EncoderConfig, first: list[str]) -> EncoderConfig:
    """Return an encoder of ``auto`` arithmetic with that of the most rows that can be taken over.

    Rows of two arithmetics are never put together; where none is there, the device of the actors decides.
    """
    if options.dtype != "auto":
        return options
    best, most = options, 0
    for device in ("cpu", "cuda"):
        made = options.on_device(device)
        digests = dataset_digests(dataset, made)
        known = known_rows(dataset.workspace, digests, first, set())
        if any(one.array.path == layout.embeddings(first[0]) for one in known):
            return made  # it was begun so
        there = np.concatenate([one.digests[one.there] for one in known] or [digests[:0]])
        count = int(np.isin(digests, there).sum())
        if count > most:
            best, most = made, count
    return best


def _complete(work: "_Embedding", first: list[str]) -> None:
    """Finish all chunks; rows that turn out to be damaged where they are taken from are embedded."""
    damaged: set[tuple[str, int]] = set()
    while True:
        try:
            work.finish(known_rows(work.dataset.workspace, work.digests, first, damaged))
        except DamagedTileError as error:
            place = (error.path, error.i)
            if layout.kind_of(error.path) is not layout.Kind.EMBEDDINGS or place in damaged:
                raise
            damaged.add(place)
        else:
            return


@dataclass
class _Embedding:
    """The embeddings of one catalog on their way.

    Parameters
    ----------
    dataset, options, identifier, actors, epoch, on_event
        As :func:`embed_items` takes them.
    digests
        (n,) digests of the texts.
    """

    dataset: Dataset
    options: EncoderConfig
    identifier: str
    actors: ActorRequest
    epoch: int
    on_event: OnEvent
    digests: Array
    embedded: int = 0
    figures: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._workspace = self.dataset.workspace
        self._path = layout.embeddings(self.identifier)

    def finish(self, known: list[KnownRows]) -> None:
        """Finish every chunk: copy what is known, embed what is new, and put both together."""
        finished, chunk_rows = self._begun()
        count = -(-len(self.digests) // chunk_rows)
        unfinished = [chunk for chunk in range(count) if chunk not in finished]
        origins = find_origins(self.digests, known, unfinished, chunk_rows)
        arrays = [one.array for one in known]
        if arrays:
            copy_rows(
                self._created(arrays[0].shape[1], chunk_rows), origins.copied, origins, arrays, self.epoch
            )
        done = len(finished) + len(origins.copied)
        apart = layout.apart(self.identifier, fingerprint(self.digests[origins.staged].tobytes().hex()))
        if not origins.direct and not len(origins.staged):
            self.on_event(StageStart(stage=Stage.EMBED, done=count, total=count))
        else:
            self._embed(origins, arrays, apart, done)
        arrays.append(ChunkArray.open(self._workspace, self._path))
        filled = origins.filled(own=len(arrays) - 1, staging=len(arrays))
        if len(origins.staged):
            arrays.append(ChunkArray.open(self._workspace, layout.embeddings(apart)))
        copy_rows(arrays[len(known)], origins.mixed, filled, arrays, self.epoch)
        self._delete_apart()

    def _begun(self) -> tuple[set[int], int]:
        """Return the chunks that are finished, and the rows of one.

        What was begun with other row chunks goes on with those, so that no finished row is lost.
        """
        n = len(self.digests)
        if not self._workspace.has(self._path):
            return set(), min(self.options.rows_per_chunk, n)
        array = ChunkArray.open(self._workspace, self._path)
        if array.shape[0] != n:
            self._workspace.delete(self._path)
            return self._begun()
        return {i for i, _ in array.done()}, array.chunks[0]

    def _created(self, dim: int, chunk_rows: int) -> ChunkArray:
        shape, chunks = (len(self.digests), dim), (chunk_rows, dim)
        return ChunkArray.create(self._workspace, self._path, shape=shape, chunks=chunks, dtype="float32")

    def _embed(self, origins: RowOrigins, arrays: list[ChunkArray], apart: str, done: int) -> None:
        """Embed the chunks that are new as a whole in place, and all other new rows apart."""
        require("embed", "embedding item texts")
        staged, chunk_rows = origins.staged, origins.chunk_rows
        tasks = [EmbedTask(self._path, chunk, origins.rows(chunk)) for chunk in origins.direct]
        tasks += [
            EmbedTask(layout.embeddings(apart), number, staged[start : start + chunk_rows])
            for number, start in enumerate(range(0, len(staged), chunk_rows))
        ]

        def opened(dim: int) -> None:
            if arrays and arrays[0].shape[1] != dim:
                raise ConfigError(
                    f"the encoder {self.options.model!r} gives rows of {dim} numbers and gave "
                    f"{arrays[0].shape[1]} before, so it is another model; give it another name."
                )
            self._decide(str(pool.figures().get("device", "cpu")))
            self._created(dim, chunk_rows)
            if len(staged):
                shape, chunks = (len(staged), dim), (min(chunk_rows, len(staged)), dim)
                path = layout.embeddings(apart)
                ChunkArray.create(self._workspace, path, shape=shape, chunks=chunks, dtype="float32")
                write_digests(self._workspace, apart, self.digests[staged])

        request = self.actors
        with (
            request.around(),
            ray_session() as session,
            MemorySampler({"ray": session.pids}, interval=_MEMORY_INTERVAL) as memory,
        ):
            handles = start_actors(
                self.dataset,
                self.options,
                chunks=len(tasks),
                num_actors=request.count,
                gpus=request.gpus_each,
            )
            pool = ActorPool(
                handles, tasks, done=done, opened=opened, epoch=self.epoch, on_event=self.on_event
            )
            try:
                pool.run()
            finally:
                self.embedded += pool.embedded
                pool.stop()
        self.figures = {**pool.figures(), "ray_memory_bytes": memory.peak.ray}

    def _decide(self, device: str) -> None:
        """Note the arithmetic of the rows, where no rows that are taken over decide it, before the first."""
        if self.options.dtype == "auto":
            self.options = self.options.on_device(device)
            self.digests = dataset_digests(self.dataset, self.options)
            write_digests(self._workspace, self.identifier, self.digests)

    def _delete_apart(self) -> None:
        """Delete rows that were embedded apart, of this run or of one that was killed."""
        for name in digested(self._workspace):
            if name.startswith(layout.apart(self.identifier)):
                self._workspace.delete(layout.embeddings(name))
                self._workspace.delete(layout.digests(name))
