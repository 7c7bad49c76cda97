import os

import numpy as np
import pandas as pd
import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def ray_cluster():
    """One Ray for the whole session, with two logical GPUs."""
    from l3ae_dist.runtime.backends.ray_session import ray_session

    with ray_session(num_cpus=2, num_gpus=2) as session:
        yield session


@pytest.fixture(scope="session")
def dask_session():
    """One local Dask cluster for the whole session."""
    from l3ae_dist.runtime.backends.local import local_cluster

    with local_cluster(workers=2, threads=1, memory_budget=2**31, dashboard=False) as session:
        yield session


@pytest.fixture(scope="session")
def s3_environment():
    """One S3 server for the whole session: the environment of its clients; there is a bucket ``bucket``."""
    from object_store import s3_server

    with s3_server() as environment:
        yield environment


@pytest.fixture
def small_tables():
    """A log of 60 users over 40 items, the last two of which nobody bought; one user has one item."""
    rng = np.random.default_rng(3)
    pairs = {(u, int(i)) for u in range(60) for i in rng.choice(38, rng.integers(3, 12), replace=False)}
    pairs = {(u, i) for u, i in pairs if u != 7} | {(7, 5)}
    log = pd.DataFrame(sorted(pairs), columns=["user_id", "item_id"])
    items = pd.DataFrame({"item_id": range(40), "title": [f"title {i}" for i in range(40)]})
    items["text"] = [f"{'red' if i % 2 else 'blue'} thing number {i}" for i in range(40)]
    return log, items
