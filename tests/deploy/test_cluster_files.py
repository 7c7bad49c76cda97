"""Every file for a cluster, the committed example and other plans: fields, types, versions, commands, secrets.

Field names and types are compared with lists extracted from the published schemas (``tests/schemas``), the
cluster launcher's with the schema that Ray ships, command lines with Ray's, Dask's and our own parsers.
"""

import ast
import copy
import functools
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import dask.config
import pytest
import typer.main
import yaml
from field_lists import FOLDER, FieldLists
from scheduler_file import address_in

from l3ae_dist import __version__
from l3ae_dist.cli import app as cli
from l3ae_dist.config.compute import ComputeConfig
from l3ae_dist.config.load import load_config
from l3ae_dist.deploy import machine_types, manifests
from l3ae_dist.deploy.cluster_shape import cluster_shape
from l3ae_dist.deploy.manifests import PLATFORMS, VERSIONS, DeployedRun, render
from l3ae_dist.planning.data_size import given_size

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "cluster"
EXAMPLE = COMMITTED / "example.yaml"
KUBERNETES = FieldLists("kubernetes", "kuberay")
KINDS = {
    ("ray.io/v1", "RayJob"): "RayJob",
    ("ray.io/v1", "RayCluster"): "RayCluster",
    ("ray.io/v1", "RayService"): "RayService",
    ("networking.k8s.io/v1", "NetworkPolicy"): "NetworkPolicy",
}
# name: (overrides of the example, keywords of given_size, keywords of cluster_shape)
LARGE = {"items": 200_000, "users": 2_000_000, "interactions": 100_000_000, "dim": None}
SMALL = {"items": 3_000, "users": 5_000, "interactions": 100_000, "dim": None}
PLANS = {
    "the example": ({}, LARGE, {}),
    "one worker without text": (
        {"model": {"name": "ease"}, "compute": {"workers": 1, "memory_budget": "1GiB", "threads": 1}},
        SMALL,
        {},
    ),
    "MiniLM on CPUs": (
        {"encoder": {"model": "minilm"}, "compute.threads": None},
        LARGE,
        {"nodes": 2, "cores": 8},
    ),
    "workers on GPUs": (
        {"compute.device": "cuda", "compute.workers": 8, "compute.threads": 4},
        LARGE,
        {"gpus_per_node": 4},
    ),
}


@functools.cache
def plan_of(name):
    overrides, numbers, layout = PLANS[name]
    config = load_config(EXAMPLE, overrides, environment=False)
    return config, cluster_shape(config, given_size(config, **numbers), **layout)


@functools.cache
def files_of(name):
    config, shape = plan_of(name)
    return {path: text for p in PLATFORMS for path, text in render(p, shape, DeployedRun(config)).items()}


def matching(pattern):
    """Every (plan, path) whose path matches."""
    return [(name, path) for name in PLANS for path in files_of(name) if re.search(pattern, path)]


def pods(document):
    """Pod templates of a RayJob, RayCluster or RayService with how many there are: the head's first."""
    spec = document["spec"]
    spec = spec.get("rayClusterSpec", spec.get("rayClusterConfig", spec))
    yield 1, spec["headGroupSpec"]
    for group in spec["workerGroupSpecs"]:
        yield group["maxReplicas"], group


def commands(text, *beginnings):
    """Words of the shell commands in a script that begin with one of these, continuation lines joined."""
    lines = text.replace("\\\n", " ").splitlines()
    found = [re.sub(r"^(RAY_ADDRESS=\S+|exec|>-)\s+", "", line.strip()).rstrip("& ") for line in lines]
    return [shlex.split(line) for line in found if line.startswith(beginnings)]


def bytes_of(quantity):
    return int(quantity.removesuffix("Gi")) * 2**30


def constraints():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.lower().split("==") for line in lines if "==" in line)


# ---- the committed example


def test_the_committed_files_are_the_rendered_example():
    expected = files_of("the example")
    found = {
        path.relative_to(COMMITTED).as_posix(): path.read_text()
        for path in COMMITTED.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    by_hand = {"README.md", "example.yaml"}
    assert set(found) == set(expected) | by_hand
    stale = [path for path in expected if found[path] != expected[path]]
    assert stale == [], "make them again with the command in cluster/README.md"


@pytest.mark.parametrize("folder", PLATFORMS.values())
def test_a_readme_has_the_five_steps(folder):
    text = (COMMITTED / folder / "README.md").read_text()
    steps = re.findall(r"^## (\d\. \w+)$", text, re.MULTILINE)
    assert steps == ["1. Configure", "2. Up", "3. Run", "4. Watch", "5. Destroy"]


def test_scripts_are_executable_and_others_are_not():
    for path in COMMITTED.rglob("*.*"):
        if path.is_file() and "__pycache__" not in path.parts:
            assert os.access(path, os.X_OK) == path.read_text().startswith("#!"), path


# ---- KubeRay


@pytest.mark.parametrize(("plan", "path"), matching(r"^kuberay/.*\.yaml$"))
def test_kubernetes_manifests_have_the_published_fields_and_types(plan, path):
    for document in yaml.safe_load_all(files_of(plan)[path]):
        kind = KINDS[document["apiVersion"], document["kind"]]
        assert KUBERNETES.problems(document, kind) == []
        for _, group in pods(document) if kind.startswith("Ray") else []:
            names = [volume["name"] for volume in group["template"]["spec"]["volumes"]]
            mounts = group["template"]["spec"]["containers"][0]["volumeMounts"]
            assert sorted(names) == sorted(mount["name"] for mount in mounts)


def test_the_field_lists_find_wrong_names_types_and_choices():
    good = next(yaml.safe_load_all(files_of("the example")["kuberay/rayjob.yaml"]))

    def spoilt(change):
        document = copy.deepcopy(good)
        change(document["spec"])
        return KUBERNETES.problems(document, "RayJob")

    container = lambda spec: spec["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]  # noqa: E731
    assert spoilt(lambda spec: None) == []
    assert spoilt(lambda spec: spec.update(entryPoint="x")) == [
        "$.spec has no field entryPoint in RayJobSpec"
    ]
    assert spoilt(lambda spec: spec.update(backoffLimit="3")) == ["$.spec.backoffLimit is '3', no integer"]
    assert "none of" in spoilt(lambda spec: spec.update(submissionMode="Job"))[0]
    assert "lacks name" in spoilt(lambda spec: container(spec).pop("name"))[0]
    assert (
        "no quantity" in spoilt(lambda spec: container(spec)["resources"]["limits"].update(memory="16 GB"))[0]
    )
    params = lambda spec: spec["rayClusterSpec"]["headGroupSpec"]["rayStartParams"]  # noqa: E731
    assert spoilt(lambda spec: params(spec).update({"num-cpus": 0}))[0].endswith("is 0, no string")


@pytest.mark.parametrize(("plan", "path"), matching(r"^kuberay/ray(job|cluster)\.yaml$"))
def test_a_kuberay_cluster_holds_the_plan(plan, path):
    config, shape = plan_of(plan)
    document = yaml.safe_load(files_of(plan)[path])
    spec = document["spec"].get("rayClusterSpec", document["spec"])
    assert spec["rayVersion"] == VERSIONS["ray"]
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    ports = {
        p["name"]: p["containerPort"]
        for p in spec["headGroupSpec"]["template"]["spec"]["containers"][0]["ports"]
    }
    assert ports == {"gcs-server": 6379, "dashboard": 8265, "dask-dashboard": 8787}
    room = 0
    for count, group in pods(document):
        resources = group["template"]["spec"]["containers"][0]["resources"]
        assert resources["requests"] == resources["limits"]
        params = group["rayStartParams"]
        inside = int(params.get("memory", 0)) + int(params["object-store-memory"])
        assert inside < bytes_of(resources["limits"]["memory"])
        assert int(params["num-cpus"]) <= int(resources["limits"]["cpu"])
        assert params.get("num-gpus", "0") == resources["limits"].get("nvidia.com/gpu", "0")
        image = group["template"]["spec"]["containers"][0]["image"]
        assert image.endswith(f":{__version__}-{'cuda' if 'num-gpus' in params else 'cpu'}")
        fits = [int(params.get("memory", 0)) // config.compute.memory_budget]
        fits.append(int(params["num-cpus"]) // shape.threads)
        fits += [int(params["num-gpus"])] if config.compute.device == "cuda" and "num-gpus" in params else []
        room += count * min(fits)
    assert room >= config.compute.workers
    assert shape.plan.peak_bytes <= config.compute.memory_budget


def test_gpus_that_only_embed_offer_no_cpus_to_dask():
    document = yaml.safe_load(files_of("the example")["kuberay/rayjob.yaml"])
    gpu = next(group for _, group in pods(document) if "num-gpus" in group["rayStartParams"])
    assert gpu["rayStartParams"]["num-cpus"] == "0"
    assert "memory" not in gpu["rayStartParams"]


def test_dashboards_listen_on_the_loopback_but_where_the_operator_follows_a_job():
    files = files_of("the example")
    host = lambda path: yaml.safe_load(files[path])["spec"]  # noqa: E731
    cluster = host("kuberay/raycluster.yaml")["headGroupSpec"]["rayStartParams"]
    job = host("kuberay/rayjob.yaml")["rayClusterSpec"]["headGroupSpec"]["rayStartParams"]
    assert cluster["dashboard-host"] == "127.0.0.1"
    assert job["dashboard-host"] == "0.0.0.0"
    exceptions = {path for path, text in files.items() if "0.0.0.0" in text}
    assert exceptions == {"kuberay/rayjob.yaml", "kuberay/rayservice.yaml"}
    policy = yaml.safe_load(files["kuberay/network-policy.yaml"])["spec"]
    for document in map(host, ("kuberay/rayjob.yaml", "kuberay/raycluster.yaml")):
        spec = document.get("rayClusterSpec", document)
        for _, group in pods({"spec": spec}):
            assert (
                policy["podSelector"]["matchLabels"].items()
                <= group["template"]["metadata"]["labels"].items()
            )


def test_the_service_is_one_that_ray_serve_reads_and_this_package_builds():
    from ray.serve.schema import ServeDeploySchema

    from l3ae_dist.serve import ray_application

    files = files_of("the example")
    document = yaml.safe_load(files["kuberay/rayservice.yaml"])
    config = ServeDeploySchema.model_validate(yaml.safe_load(document["spec"]["serveConfigV2"]))
    (application,) = config.applications
    module, name = application.import_path.split(":")
    assert (module, callable(getattr(ray_application, name))) == (ray_application.__name__, True)
    arguments = ray_application.Arguments(**application.args)
    room = 0
    for count, group in pods(document):
        cores = int(group["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"])
        assert int(group["rayStartParams"]["num-cpus"]) <= cores
        room += count * int(group["rayStartParams"]["num-cpus"])
        mounts = group["template"]["spec"]["containers"][0]["volumeMounts"]
        assert {"name": "exports", "mountPath": "/exports", "readOnly": True} in mounts
    assert arguments.most * arguments.cpus <= room
    assert arguments.target.startswith("/exports/")
    policy = yaml.safe_load(files["kuberay/network-policy.yaml"])["spec"]
    open_to = [
        rule for rule in policy["ingress"] if {"port": config.http_options.port} in rule.get("ports", [])
    ]
    assert [list(rule["from"][0]["podSelector"]["matchLabels"]) for rule in open_to] == [["l3ae-dist/client"]]


# ---- Ray's cluster launcher


@pytest.mark.parametrize(("plan", "path"), matching(r"^ray_up/.*\.yaml$"))
def test_launcher_files_pass_rays_own_schema_and_the_providers_field_lists(plan, path):
    from ray.autoscaler._private.util import prepare_config, validate_config

    config, shape = plan_of(plan)
    document = yaml.safe_load(files_of(plan)[path])
    lists, kind = {
        "aws": (FieldLists("ec2"), "RunInstancesRequest"),
        "gcp": (FieldLists("gcp_compute"), "Instance"),
    }[document["provider"]["type"]]
    for node_type in document["available_node_types"].values():
        assert lists.problems(node_type["node_config"], kind) == []
    validate_config(prepare_config(copy.deepcopy(document)))
    types = document["available_node_types"]
    assert types[document["head_node_type"]]["resources"] == {"CPU": 0}
    solve = types["solve"]
    assert (solve["min_workers"], solve["max_workers"]) == (shape.solve.count, shape.solve.count)
    assert solve["resources"]["memory"] == shape.solve.workers * config.compute.memory_budget
    assert document["max_workers"] == sum(t.get("max_workers", 0) for t in types.values())
    on_gpu = {name for name, t in types.items() if t["resources"].get("GPU")}
    assert on_gpu == {name for name, t in types.items() if "docker" in t}
    assert "--env RAY_AUTH_MODE=token" in document["docker"]["run_options"]
    head = " ".join(document["head_start_ray_commands"])
    assert "--dashboard-host=127.0.0.1" in head


@pytest.mark.parametrize("provider", ["aws", "gcp"])
def test_machine_types_are_sorted_so_that_the_first_that_fits_is_the_smallest(provider):
    types = {"aws": machine_types._AWS, "gcp": machine_types._GCP}[provider]
    for gpus in (False, True):
        sizes = [(count, memory) for _, _, memory, count in types if bool(count) == gpus]
        assert sizes == sorted(sizes)


# ---- command lines


def check_run(words):
    """The words are a command of ours whose settings the configuration has."""
    group = typer.main.get_command(cli.app)
    assert words[0] == "l3ae-dist"
    command = group.commands[words[1]]
    settings = command.make_context(words[1], words[2:], resilient_parsing=False).params["settings"]
    assert settings[0].startswith("compute.cluster=")
    # these come with the ray back end
    for setting in settings:
        section, _, name = setting.partition("=")[0].rpartition(".")
        assert section == "compute"
        assert name in ComputeConfig.model_fields


@pytest.mark.parametrize("plan", PLANS)
def test_the_run_is_given_what_the_plan_was_made_for(plan):
    config, shape = plan_of(plan)
    entrypoint = yaml.safe_load(files_of(plan)["kuberay/rayjob.yaml"])["spec"]["entrypoint"]
    check_run(shlex.split(entrypoint))  # the operator puts `ray job submit ... --` before it
    assert "--set compute.cluster=ray " in entrypoint
    assert f"--set compute.workers={config.compute.workers} " in entrypoint
    assert f"--set compute.memory_budget={config.compute.memory_budget} " in entrypoint
    assert f"--set compute.threads={shape.threads} " in entrypoint


@pytest.mark.parametrize(("plan", "path"), matching(r"submit\.sh$"))
def test_ray_job_submit_has_the_separator_before_the_entrypoint(plan, path):
    from ray.dashboard.modules.job.cli import submit

    (words,) = commands(files_of(plan)[path], "ray job submit")
    separator = words.index("--")
    check_run(words[separator + 1 :])
    parsed = submit.make_context("submit", words[3:])
    assert list(parsed.params["entrypoint"]) == words[separator + 1 :]
    assert parsed.params["address"] == "http://127.0.0.1:8265"


@pytest.mark.parametrize(("plan", "path"), matching(r"(job|embed)\.sbatch$"))
def test_symmetric_run_has_the_separator_and_options_that_ray_start_knows(plan, path):
    from ray.scripts.scripts import start
    from ray.scripts.symmetric_run import curate_and_validate_ray_start_args

    (words,) = [line for line in commands(files_of(plan)[path], "srun") if "symmetric-run" in line]
    words = words[words.index("ray") :]
    assert words[:2] == ["ray", "symmetric-run"]
    separator = words.index("--")
    assert words[separator + 1 : separator + 3] == ["env", "RAY_ADDRESS=$address"]
    check_run(words[separator + 3 :])
    own = words[2:separator]
    own[own.index("--min-nodes") + 1] = "4"
    options = curate_and_validate_ray_start_args(own)
    start.make_context("start", [*options, "--head"])
    start.make_context("start", [*options, "--address=10.0.0.1:6379"])
    # head-only options would end the other nodes
    assert not any(option.startswith(("--include-dashboard", "--dashboard-host=0")) for option in options)


@pytest.mark.parametrize(("plan", "path"), matching(r"(\.sbatch|ray_up/.*\.yaml)$"))
def test_ray_start_knows_its_options(plan, path):
    from ray.scripts.scripts import start

    text = files_of(plan)[path]
    if path.endswith(".yaml"):
        document = yaml.safe_load(text)
        lines = document["head_start_ray_commands"] + document["worker_start_ray_commands"]
        starts = [shlex.split(line.partition(";")[2]) for line in lines if "ray start" in line]
        assert len(starts) == 2
    else:
        options = re.search(r"^options=\((.*)\)$", text, re.MULTILINE)
        words = [
            line[line.index("start") - 1 :] for line in commands(text, "srun", "ray start") if "start" in line
        ]
        own = shlex.split(options[1]) if options else []
        starts = [
            [w for word in line for w in (own if word == "${options[@]}" else [word])] for line in words
        ]
    for words in starts:
        start.make_context("start", [word.replace("$port", "6379") for word in words[2:]])


def test_dask_knows_the_options_of_its_scripts():
    from distributed.cli import dask_scheduler, dask_worker

    for name, command in (("scheduler", dask_scheduler.main), ("worker", dask_worker.main)):
        (words,) = commands(files_of("the example")[f"dask/{name}.sh"], f"dask {name}")
        words = ["tls://host:8786" if word == "$address" else word for word in words[2:] if word != "$@"]
        command.make_context(name, words)
    (words,) = commands(files_of("the example")["dask/run.sh"], "l3ae-dist run")
    check_run(words)


# ---- Slurm and shell


@pytest.mark.parametrize(("plan", "path"), matching(r"\.sbatch$"))
def test_batch_scripts_ask_slurm_for_the_plan_in_its_own_words(plan, path):
    known = json.loads((FOLDER / "slurm.json").read_text())
    _, shape = plan_of(plan)
    nodes = shape.embed if "embed" in path else shape.solve
    text = files_of(plan)[path]
    directives = [line[10:].partition("=") for line in text.splitlines() if line.startswith("#SBATCH")]
    asked = {option: value for option, _, value in directives}
    forms = {
        "integer": r"[1-9][0-9]*",
        "size": r"[1-9][0-9]*[KMGT]?",
        "time": r"[0-9]+:[0-9]{2}:[0-9]{2}",
        "flag": "",
        "string": r"\S+",
    }
    for option, value in asked.items():
        assert re.fullmatch(forms[known["sbatch"][option]], value), option
    assert int(asked["nodes"]) == nodes.count
    assert asked["ntasks-per-node"] == "1"
    assert int(asked["cpus-per-task"]) >= nodes.workers * shape.threads
    assert int(asked["mem"].rstrip("G")) * 2**30 >= nodes.memory_bytes + shape.head.memory_bytes
    assert int(asked.get("gpus-per-node", 0)) == nodes.gpus
    for line in commands(text, "srun"):
        for word in line[1 : line.index("ray")]:
            # the arithmetic of the shell has words of its own
            assert not word.startswith("--") or word[2:].partition("=")[0] in known["srun"]


def test_there_is_a_script_for_embedding_only_where_gpus_do_nothing_else():
    has = {plan for plan in PLANS if "slurm/embed.sbatch" in files_of(plan)}
    assert has == {"the example"}


@pytest.mark.parametrize(("plan", "path"), matching(r"\.(sh|sbatch)$"))
def test_shell_scripts_are_valid_bash(plan, path, tmp_path):
    script = tmp_path / "script"
    script.write_text(files_of(plan)[path])
    done = subprocess.run(["bash", "-n", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# ---- Dask


def test_dask_yaml_is_the_workers_own_configuration():
    _, shape = plan_of("the example")
    document = yaml.safe_load(files_of("the example")["dask/dask.yaml"])
    for key, value in manifests.WORKER_CONFIG.items():
        if key != "distributed.deploy.lost-worker-timeout":  # of local clusters
            assert dask.config.get(key, config=document) == value
    threads = dask.config.get("distributed.nanny.pre-spawn-environ", config=document)
    assert set(threads.values()) == {str(shape.threads)}
    assert dask.config.get("distributed.comm.require-encryption", config=document) is True


@pytest.mark.dask
def test_the_dask_scripts_make_a_cluster_that_only_a_certificate_opens(tmp_path):
    from distributed import Client
    from distributed.security import Security

    for path, text in files_of("one worker without text").items():
        if path.startswith("dask/"):
            (tmp_path / Path(path).name).write_text(text)
    tls, where = tmp_path / "tls", tmp_path / "scheduler.json"
    subprocess.run(["bash", tmp_path / "certificates.sh", tls, "1"], check=True, capture_output=True)
    assert {path.name: path.stat().st_mode & 0o777 for path in tls.iterdir()} == dict.fromkeys(
        ("ca.pem", "cert.pem", "key.pem"), 0o600
    )
    environment = os.environ | {
        "L3AE_TLS": str(tls),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    processes = []

    def begin(script, *arguments):
        command = ["bash", tmp_path / script, *arguments]
        with (tmp_path / f"{script}.log").open("wb") as log:
            processes.append(subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=log, stderr=log))

    local = ["--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0"]
    try:
        begin("scheduler.sh", *local, "--scheduler-file", where)
        security = Security(
            tls_ca_file=str(tls / "ca.pem"),
            tls_client_cert=str(tls / "cert.pem"),
            tls_client_key=str(tls / "key.pem"),
            require_encryption=True,
        )
        with Client(address := address_in(where), security=security, timeout="60s") as client:
            begin("worker.sh", address, "--host", "127.0.0.1", "--local-directory", tmp_path)
            client.wait_for_workers(1, timeout=60)
            (worker,) = client.scheduler_info()["workers"].values()
            assert (worker["nthreads"], worker["memory_limit"]) == (2, 2**30)
            assert client.submit(os.getenv, "OPENBLAS_NUM_THREADS").result(timeout=60) == "1"
        assert address.startswith("tls://127.0.0.1:")
        with pytest.raises(OSError, match=r"(?i)timed out|closed"):
            Client(address.replace("tls:", "tcp:"), timeout="2s")
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            process.wait(60)


def test_jobqueue_passes_parameters_that_slurmcluster_has():
    known = json.loads((FOLDER / "dask_jobqueue.json").read_text())["parameters"]
    lists = FieldLists()
    _, shape = plan_of("workers on GPUs")
    tree = ast.parse(files_of("workers on GPUs")["dask/jobqueue.py"])
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    (call,) = [node for node in calls if getattr(node.func, "id", "") == "SLURMCluster"]
    assert call.args == []
    for keyword in call.keywords:
        kind = known[keyword.arg]
        if isinstance(keyword.value, ast.Constant):
            assert lists.problems(keyword.value.value, kind) == []
    constants = {n.targets[0].id: n.value for n in tree.body if isinstance(n, ast.Assign)}
    assert constants["JOBS"].value == shape.solve.count
    assert constants["WORKERS_PER_JOB"].value == shape.solve.workers


# ---- images and versions


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_dockerfiles_pin_what_the_constraints_pin(kind):
    text = files_of("the example")[f"docker/Dockerfile.{kind}"]
    joined = text.replace("\\\n", " ")
    known = {"FROM", "RUN", "WORKDIR", "COPY", "ENV", "USER", "CMD"}
    steps = [line.split(" ", 1) for line in joined.splitlines() if line and not line.startswith("#")]
    assert {step[0] for step in steps} <= known
    assert steps[0] == ["FROM", f"python:{VERSIONS['python']}-slim-bookworm"]
    assert [step[1] for step in steps if step[0] == "USER"] == ["ray"]
    installs = [step[1] for step in steps if step[1].startswith("pip install")]
    assert len(installs) == 2
    assert all("-c constraints.txt" in install for install in installs)
    assert ("whl/cpu" in installs[0]) == (kind == "cpu")
    ignored = files_of("the example")[f"docker/Dockerfile.{kind}.dockerignore"].splitlines()
    for step in steps:
        if step[0] == "COPY":
            for source in step[1].split()[:-1]:
                assert (ROOT / source).exists()
                assert f"!{source.removeprefix('./')}" in ignored


@pytest.mark.parametrize(("plan", "path"), matching(""))
def test_versions_agree_with_the_constraints(plan, path):
    pinned = constraints()
    text = files_of(plan)[path]
    for name, version in re.findall(r"([A-Za-z][\w-]+)(?:\[\w+\])?'?==([0-9][\w.]*)", text):
        expected = pinned.get(name.lower(), VERSIONS.get(name.lower()))
        assert version == expected, name
    for version in re.findall(r"\bRay ([0-9]+\.[0-9]+\.[0-9]+)|rayVersion: \"([0-9.]+)\"", text):
        assert "".join(version) == pinned["ray"]
    for tag in re.findall(r"l3ae-dist:([0-9][^\s\"]*)", text):
        assert tag in (f"{__version__}-cpu", f"{__version__}-cuda")


def test_the_named_versions_are_the_tested_ones():
    pinned = constraints()
    assert {name: pinned[name] for name in ("ray", "torch")} == {
        name: VERSIONS[name] for name in ("ray", "torch")
    }
    assert f"Python {VERSIONS['python']}" in (ROOT / "constraints.txt").read_text().splitlines()[0]


# ---- secrets


@pytest.mark.parametrize(("plan", "path"), matching(""))
def test_no_file_holds_a_secret_or_a_place_for_one(plan, path):
    text = files_of(plan)[path]
    assert not re.search(r"AKIA[0-9A-Z]{16}|BEGIN [A-Z ]*PRIVATE KEY|eyJ[\w-]{20,}|\b[0-9a-f]{32,}\b", text)
    assert not re.search(r"(?i)(secret_access_key|password|api_key|hf_token)\s*[:=]", text)
    assert not re.search(r"RAY_AUTH_TOKEN\s*[:=]\s*[\"']?\w", text)
    if path.endswith(".yaml"):
        for document in yaml.safe_load_all(text):
            assert document.get("kind") != "Secret"


def test_settings_of_the_run_keep_their_quotes():
    config, shape = plan_of("one worker without text")
    job = DeployedRun(config, ("evaluate.ks=[5, 10]", "data.items=it's here", "compute.workers=1"))
    words = shlex.split(job.run(shape, "config.yaml"))
    assert words[-4:] == ["--set", "evaluate.ks=[5, 10]", "--set", "data.items=it's here"]
    assert sum(word.startswith("compute.workers=") for word in words) == 1


# ---- hostile names, and what a pod, a node and another user of it may do

EVIL = "a'b\"c$(touch evil)`id`\\\n: evil\u2028evil: {{1}} #"


def test_names_are_quoted_in_every_file_that_holds_them():
    config, shape = plan_of("the example")
    config = config.model_copy(update={"workspace": f"s3://bucket/{EVIL}"})
    settings = (f"data.interactions={EVIL}",)
    job = DeployedRun(config, settings, image=f"registry.example.com/{EVIL}")
    for platform in PLATFORMS:
        for path, text in render(platform, shape, job).items():
            if path.endswith(".yaml"):
                document = yaml.safe_load(text)
                assert "evil" not in str(list(document)), path
                assert "touch evil" not in "".join(
                    line for line in text.splitlines() if line.startswith("e")
                ), path
            if path.endswith((".sh", ".sbatch")):
                assert subprocess.run(["bash", "-n"], input=text, text=True).returncode == 0, path
    document = yaml.safe_load(render("kuberay", shape, job)["kuberay/rayjob.yaml"])
    assert settings[0] in shlex.split(document["spec"]["entrypoint"])
    (container,) = document["spec"]["submitterPodTemplate"]["spec"]["containers"]
    assert container["image"].startswith(f"registry.example.com/{EVIL}:")


def test_every_pod_meets_the_restricted_profile():
    files = files_of("the example")
    job = yaml.safe_load(files["kuberay/rayjob.yaml"])
    found = [job["spec"]["submitterPodTemplate"]]
    for path in ("kuberay/rayjob.yaml", "kuberay/raycluster.yaml"):
        found += [group["template"] for _, group in pods(yaml.safe_load(files[path]))]
    for pod in (one["spec"] for one in found):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_the_network_policy_lets_in_the_operator_of_its_namespace_and_out_to_named_places():
    policy = yaml.safe_load(files_of("the example")["kuberay/network-policy.yaml"])["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    (operator,) = [rule for rule in policy["ingress"] if {"port": 8265} in rule.get("ports", [])]
    (source,) = operator["from"]
    assert source["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "kuberay-operator"}
    assert "--namespace kuberay-operator" in files_of("the example")["kuberay/README.md"]
    for rule in policy["egress"]:
        assert rule.get("ports") or all("podSelector" in one for one in rule["to"])


def test_folders_of_a_slurm_job_have_names_that_nobody_can_guess():
    for path, text in files_of("the example").items():
        if path.startswith("slurm/"):
            assert "/tmp/l3ae-$SLURM_JOB_ID" not in text
    assert "scratch=$(mktemp -d /tmp/l3ae-XXXXXXXXXX)" in files_of("the example")["slurm/setup.sh"]
