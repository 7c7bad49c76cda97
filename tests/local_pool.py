"""A pool that embeds in this process, in the place of Ray's actors, with a vector for each text."""

import contextlib
import hashlib
from types import SimpleNamespace

import numpy as np

from l3ae_dist.embed import run as embed_run
from l3ae_dist.storage.chunks import ChunkArray

DIM = 5


def vector(text, salt=""):
    """What the encoder in the actors' place gives for a text."""
    seed = int.from_bytes(hashlib.sha256((salt + text).encode()).digest()[:4], "little")
    return np.random.default_rng(seed).standard_normal(DIM).astype(np.float32)


class Pool:
    """Embeds in this process; stops after ``most`` chunks as if the run were killed."""

    def __init__(self):
        self.texts, self.most, self.dim, self.salt = [], None, DIM, ""

    def started(self, dataset, options, **_):
        self.dataset = dataset
        return []

    def __call__(self, actors, tasks, *, done, opened, epoch, on_event):
        def work():
            opened(self.dim)
            for count, task in enumerate(tasks):
                if count == self.most:
                    raise KeyboardInterrupt
                array = ChunkArray.open(self.dataset.workspace, task.path)
                texts = self.dataset.texts_of(task.rows)
                self.texts += texts
                made.embedded += len(texts)
                array.write(task.chunk, 0, np.array([vector(text, self.salt) for text in texts]), epoch=epoch)

        made = SimpleNamespace(run=work, stop=lambda: None, embedded=0, figures=dict)
        return made


def local_pool(monkeypatch):
    """Put a pool in the place of the actors, and return it."""
    made = Pool()
    monkeypatch.setattr(embed_run, "start_actors", made.started)
    monkeypatch.setattr(embed_run, "ActorPool", made)
    session = contextlib.nullcontext(SimpleNamespace(pids=list))
    monkeypatch.setattr(embed_run, "ray_session", lambda: session)
    return made
