"""What workers and actors print: data that a terminal does not obey, and no secrets."""

import logging
import sys
from pathlib import Path

import pytest

from l3ae_dist.config.embedding import EncoderConfig
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.ingest import IngestConfig, ingest
from l3ae_dist.runtime.backends.local import local_cluster
from l3ae_dist.storage.workspace import Workspace

SECRET = "pa55-word-of-nobody"
URL = f"s3://somebody:{SECRET}@host/log?X-Amz-Signature={SECRET}&part=2"


def print_everywhere(_actor=None):
    """Print a URL with a secret as code of any library may: by name, by a log line, by a warning's stream."""
    print(f"printed {URL}", file=sys.stderr)
    print(f"put out {URL} \x1b[31m", flush=True)
    logging.getLogger("distributed.worker").critical("logged %s", URL)
    logging.getLogger("botocore").critical("lost %s", URL)
    sys.stderr.flush()


@pytest.mark.dask
def test_workers_leave_secrets_out_of_what_they_print(capfd):
    with local_cluster(workers=1, threads=1, memory_budget=2**30, dashboard=False) as session:
        session.client.run(print_everywhere)
    out, err = capfd.readouterr()
    assert "printed s3://...@host/log?X-Amz-Signature=...&part=2" in err
    assert "logged s3://...@host" in err
    assert "lost s3://...@host" in err
    assert "put out s3://...@host" in out
    assert SECRET not in out + err
    assert "\x1b[31m" not in out


@pytest.mark.ray
def test_actors_leave_secrets_out_of_what_they_print(tmp_path, small_tables, ray_cluster):
    import ray
    from ray._private import worker

    from l3ae_dist.embed.actors import start_actors

    workspace = Workspace.create(tmp_path / "w")
    dataset = Dataset(workspace, ingest(*small_tables, IngestConfig(split="none"), workspace))
    (actor,) = start_actors(dataset, EncoderConfig(), chunks=1)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # which an actor cannot import
    try:
        ray.get(actor.__ray_call__.remote(print_everywhere))
    finally:
        ray.kill(actor)
    logs = Path(worker._global_node.get_logs_dir_path())
    found = "".join(path.read_text(errors="replace") for path in logs.glob("worker-*"))
    assert "printed s3://...@host" in found
    assert "put out s3://...@host" in found
    assert SECRET not in found
