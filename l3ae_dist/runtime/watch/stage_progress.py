"""Progress of a stage from its events: counts, rates and the time that is left."""

import time
from dataclasses import dataclass, field

from l3ae_dist.runtime.events import ChunkDone, TileDone


@dataclass
class StageProgress:
    """Counts of one running stage."""

    name: str
    done: int = 0
    total: int = 0
    already: int = 0
    """Units (tasks, chunks) that were complete before the run."""
    flops: float = 0.0
    bytes: float = 0.0
    bytes_from_peers: float = 0.0
    bytes_from_copies: float = 0.0
    rows: int = 0
    started: float = field(default_factory=time.monotonic)
    ended: float | None = None

    def update(self, event: TileDone | ChunkDone) -> None:
        """Count a unit of this stage."""
        self.done, self.total = event.done, event.total
        self.bytes += event.bytes
        if isinstance(event, TileDone):
            self.flops += event.flops
            self.bytes_from_peers += event.bytes_from_peers
            self.bytes_from_copies += event.bytes_from_copies
        else:
            self.rows += event.rows

    def rate(self, now: float) -> str:
        """Return the rate as text: in GFLOP/s, else rows/s, else units/s; empty before the first unit."""
        seconds = max(now - self.started, 1e-9)
        if self.flops:
            return f"{self.flops / seconds / 1e9:.1f} GFLOP/s"
        if self.rows:
            return f"{self.rows / seconds:,.0f} rows/s"
        made = self.done - self.already
        return f"{made / seconds:.1f} /s" if made > 0 else ""

    def time_left(self, now: float) -> str:
        """Return the time for the rest at the rate so far; empty when it is unknown or all is done."""
        made = self.done - self.already
        if made <= 0 or self.done >= self.total:
            return ""
        return f"{clock((self.total - self.done) * (now - self.started) / made)} left"


def clock(seconds: float) -> str:
    """Format seconds as ``1:02:03`` or ``2:03``.

    >>> clock(3723)
    '1:02:03'
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
