"""The service as an application of Ray Serve: the same answers behind its proxy, and bounds of its arguments."""

import contextlib
import json
import random
import socket
import urllib.request

import pytest
from pydantic import ValidationError
from small_fits import fit

pytest.importorskip("fastapi_offline", reason="the extra serve is not installed")
pytest.importorskip("grpc_reflection", reason="the extra ray-serve is not installed")

from l3ae_dist.model.fitted import load_model
from l3ae_dist.serve.ray_application import Arguments, application
from l3ae_dist.serving import load_export


@pytest.mark.ray
def test_a_copy_behind_the_proxy_of_ray_answers_as_the_model_does(ray_cluster, tmp_path):
    from ray import serve

    fit(tmp_path / "w")
    load_model(tmp_path / "w").export_weights(tmp_path / "export", 5)
    for port in random.sample(range(20_000, 30_000), 100):  # below those that Ray's own sockets are given
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            break
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        serve.run(application(Arguments(target=str(tmp_path / "export"), most=1, cpus=0.5)))
        asked = urllib.request.Request(
            f"http://127.0.0.1:{port}/recommend", json.dumps({"histories": [[1, 2]], "n": 3}).encode(),
            {"Content-Type": "application/json"},
        )  # fmt: skip
        with urllib.request.urlopen(asked, timeout=30) as answer:
            found = json.load(answer)["results"][0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=30) as answer:
            assert json.load(answer)["ready"]
    finally:
        serve.shutdown()
    items, _ = load_export(tmp_path / "export").recommend([[1, 2]], 3)
    assert [one["item_id"] for one in found] == items[0].tolist()


@pytest.mark.parametrize(
    "wrong", [{}, {"target": "x", "most": 0}, {"target": "x", "cpus": 0}, {"target": "x", "copies": 2}]
)
def test_arguments_are_bounded(wrong):
    with pytest.raises(ValidationError):
        Arguments(**wrong)
