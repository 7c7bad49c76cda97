"""Fits of a small system in one worker that keeps L and Linv in memory, and what is left of them."""

from small_fits import tables

from l3ae_dist.config.load import make_config
from l3ae_dist.operations.verify import verify_workspace
from l3ae_dist.pipeline.run import run
from l3ae_dist.planning.worker_memory import INTERPRETER_BYTES, MARGIN_BYTES, TILES_HELD
from l3ae_dist.storage.done_marks import marked_chunks
from l3ae_dist.storage.stages import TILE_STAGES
from l3ae_dist.storage.workspace import Workspace

TILE = 8
LOWER = 5 * 6 // 2
# as small as a worker's memory can be, but for the tiles that its cache then holds
SMALLEST = INTERPRETER_BYTES + MARGIN_BYTES + TILES_HELD * TILE * TILE * 4


def settings(where, intermediates="memory", model=None, **compute):
    compute = {
        "cluster": "synchronous", "threads": 1, "dtype": "float32", "tile_size": TILE, "block": 1,
        "intermediates": intermediates, **compute,
    }  # fmt: skip
    model = model or {"name": "ease", "reg_x": 10}
    return make_config({"workspace": str(where), "model": model, "compute": compute})


def solve(where, intermediates="memory", on_event=None, **compute):
    """One fit in this process; returns its result."""
    log, items, _ = tables()
    config = settings(where, intermediates, **compute)
    return run(config, interactions=log, items=items, until="fit", on_event=on_event)


def inverse(where):
    return Workspace.open(where).inverse.as_dask().compute(scheduler="synchronous")


def marks(where):
    """Chunks of L and of Linv that are written, by name."""
    found = marked_chunks(Workspace.open(where).blobs)
    return {
        path.rpartition("/")[2]: chunks for path, chunks in found.items() if path.endswith(("/L", "/Linv"))
    }


def recorded(where):
    """Stages of the factorisation that are recorded as complete."""
    return {record.stage for record in Workspace.open(where).stage_records()}.intersection(TILE_STAGES)


def sound(where):
    found = verify_workspace(str(where), lambda event: None)
    return not found.damage and not found.documents


class Watch:
    """Notes what of L and Linv is ever written, the stages that are recorded, and what is said."""

    def __init__(self, where, then=lambda event: None):
        self.where, self.then = where, then
        self.written, self.said, self.claimed = {}, [], []

    def __call__(self, event):
        if event["kind"] == "log":
            self.said.append(event["message"])
        if event["kind"] == "tile" and event["stage"] in TILE_STAGES:
            for name, chunks in marks(self.where).items():
                self.written.setdefault(name, set()).update(chunks)
            self.claimed.append(recorded(self.where))
        self.then(event)
