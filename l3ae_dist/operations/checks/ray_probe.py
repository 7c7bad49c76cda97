"""Test of Ray in a process of its own: ``python -m l3ae_dist.operations.checks.ray_probe``.

Ray cannot be told to give up, and leaves settings behind in the process that started it.
"""

import json
import os
import signal
import subprocess
import sys
import time

from l3ae_dist.errors import L3AEError
from l3ae_dist.operations.checks.row import Check, Facts
from l3ae_dist.units import GIB

PROBE_SECONDS = 60.0


def ray_row(node: str) -> Check:
    """Start a private Ray, or connect to that of ``RAY_ADDRESS``, and run one task."""
    command = [sys.executable, "-m", "l3ae_dist.operations.checks.ray_probe"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    )
    try:
        output, _ = process.communicate(timeout=PROBE_SECONDS)
        told: Facts = json.loads(output.strip().splitlines()[-1])
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # Ray's servers end with the process that started them
        process.communicate()
        told = {"error": f"no start within {PROBE_SECONDS:.0f} s; end other programs, look at RAY_ADDRESS"}
    except (ValueError, IndexError):
        told = {"error": f"its process ended with code {process.returncode}; reinstall Ray (constraints.txt)"}
    return ray_judgement(node, told)


def ray_judgement(node: str, found: Facts) -> Check:
    """Judge what the process of the probe printed."""
    if "error" in found:
        text, _, advice = str(found["error"]).rstrip(".").rpartition("; ")
        return Check("Ray", "problem", text or advice, advice if text else "", node, "cluster")
    where = "started here" if found["private"] else f"the running one, {found['nodes']} nodes"
    text = (
        f"{found['version']}, {where}: {found['cpus']:g} CPUs, {found['gpus']:g} GPUs, "
        f"{found['memory'] / GIB:.1f} GiB; a task ran after {found['seconds']:.1f} s"
    )
    return Check("Ray", "ok", text, node=node, kind="cluster")


def probe() -> Facts:
    """Connect, run one task, and tell what the cluster has."""
    from l3ae_dist.runtime.backends.ray_session import ray_session

    started = time.perf_counter()
    try:
        with ray_session() as session:
            return resources(started, private=session.private)
    except L3AEError as error:
        return {"error": str(error)}
    except Exception as error:  # whatever is broken becomes a row
        reason = " ".join(str(error).split())[-300:]
        return {"error": f"{type(error).__name__}: {reason}; pip install -c constraints.txt l3ae-dist"}


def resources(started: float, *, private: bool) -> Facts:
    """Run one task on the initialised Ray and tell what it has; ``started`` is a ``time.perf_counter``."""
    import ray

    from l3ae_dist.runtime.backends.dask_session import machine_and_pid

    ray.get(ray.remote(num_cpus=0)(machine_and_pid).remote())  # a node without this package fails here
    has = ray.cluster_resources()
    return {
        "version": ray.__version__,
        "private": private,
        "nodes": sum(bool(node["Alive"]) for node in ray.nodes()),
        "cpus": has.get("CPU", 0),
        "gpus": has.get("GPU", 0),
        "memory": has.get("memory", 0),
        "seconds": time.perf_counter() - started,
    }


if __name__ == "__main__":
    sys.stdout.write("\n" + json.dumps(probe()) + "\n")
