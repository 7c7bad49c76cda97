"""The pool of Ray actors that embeds row chunks, two at a time in each actor."""

import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from l3ae_dist.embed.frozen_actors import FrozenActors
from l3ae_dist.errors import ClusterError, L3AEError
from l3ae_dist.runtime.bounded import bounded
from l3ae_dist.runtime.events import ChunkDone, Message, OnEvent, StageStart
from l3ae_dist.storage.stages import Stage

if TYPE_CHECKING:
    from ray import ObjectRef
    from ray.actor import ActorHandle

    from l3ae_dist.embed.actors import ActorInfo, ChunkRecord, EmbedTask

# the second chunk is read, and waits at the actor, while the first is computed: it never idles
_IN_FLIGHT = 2
_PATIENCE_SECONDS = 60.0
_LOOK_SECONDS = 1.0
_GOODBYE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class ActorRequest:
    """Request for actors that embed.

    Parameters
    ----------
    count
        Actors to start; one per GPU, or per CPU where there is none, when None.
    gpus_each
        GPUs each actor asks Ray for (a fraction shares one); 1 where there are GPUs when None, 0 for none.
    around
        Makes the context in which Ray is used; not called when there is nothing to embed.
    """

    count: int | None = None
    gpus_each: float | None = None
    around: Callable[[], AbstractContextManager[object]] = contextlib.nullcontext


ANY_ACTORS = ActorRequest()
"""Request for as many actors as Ray has room for, each on a GPU of its own where there are any."""


class ActorPool:
    """Feeds row chunks to the actors that are up, two to each; an autoscaling cluster adds some later.

    Parameters
    ----------
    actors
        Their handles.
    tasks
        What is to be embedded.
    done
        Row chunks that are there without the tasks, for the events.
    opened
        Called once with the dimension of the rows, before the first task: it makes the arrays.
    epoch
        The lock's epoch, kept in the done-marks.
    on_event
        Called for the start, each finished chunk, and what people wait for.

    Attributes
    ----------
    embedded
        Rows that were embedded so far.
    """

    def __init__(
        self,
        actors: list["ActorHandle"],
        tasks: Sequence["EmbedTask"],
        *,
        done: int,
        opened: Callable[[int], None],
        epoch: int,
        on_event: OnEvent,
    ) -> None:
        self._actors = actors
        self._waiting = deque(tasks)
        self._done, self._total = done, done + len(tasks)
        self._opened = opened
        self._epoch = epoch
        self._on_event = on_event
        self._joining: dict[ObjectRef, ActorHandle] = {actor.describe.remote(): actor for actor in actors}
        self._running: dict[ObjectRef, ActorHandle] = {}
        self._members: list[ActorInfo] = []
        self._frozen = FrozenActors(actors, on_event)
        self.embedded = 0

    def run(self) -> None:
        """Return when every chunk is done; raises what an actor raised."""
        import ray

        heard = looked = time.monotonic()
        while not self._members or self._running:
            references = [*self._running, *self._joining]
            ready, _ = ray.wait(references, num_returns=1, timeout=_LOOK_SECONDS)
            for reference in ready:
                self._take(reference)
            now = time.monotonic()
            if now - looked >= _LOOK_SECONDS:
                looked = now
                self._frozen.look()
            if ready:
                heard = now
            elif not self._members and now - heard >= _PATIENCE_SECONDS:
                heard = now
                message = "waiting for Ray to place an embedding actor: its CPUs or GPUs are taken"
                self._on_event(Message(stage=Stage.EMBED, message=message))

    def stop(self) -> None:
        """End the actors, those that stand still included."""
        self._frozen.end_stopped()
        with contextlib.suppress(TimeoutError):  # a Ray that stands still itself
            bounded(self._kill, _GOODBYE_SECONDS, "Ray")

    def figures(self) -> dict[str, object]:
        """Return the device of the actors and their number, for the stage's completion record."""
        return {"device": self._members[0].device, "actors": len(self._members)}

    def _kill(self) -> None:
        import ray

        for actor in self._actors:
            ray.kill(actor)

    def _take(self, reference: "ObjectRef") -> None:
        if reference in self._joining:
            self._join(self._joining.pop(reference), _get(reference))
        else:
            self._finish(self._running.pop(reference), _get(reference))

    def _join(self, actor: "ActorHandle", info: "ActorInfo") -> None:
        self._members.append(info)
        if len(self._members) == 1:
            self._opened(info.dim)
            self._on_event(StageStart(stage=Stage.EMBED, done=self._done, total=self._total))
        for _ in range(_IN_FLIGHT):
            self._feed(actor)

    def _feed(self, actor: "ActorHandle") -> None:
        if self._waiting:
            self._running[actor.embed.remote(self._waiting.popleft(), self._epoch)] = actor

    def _finish(self, actor: "ActorHandle", record: "ChunkRecord") -> None:
        self._done += 1
        self.embedded += 0 if record.skipped else record.rows
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
