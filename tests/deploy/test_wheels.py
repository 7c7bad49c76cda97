"""The two wheels: the whole package, and what answers from an export alone."""

import json
import os
import subprocess
import sys
import urllib.request
import zipfile
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from l3ae_dist import __version__
from l3ae_dist.config.load import make_config

ROOT = Path(__file__).resolve().parents[2]
# What an environment for serving does not have.
ABSENT = (
    "torch", "ray", "dask", "distributed", "zarr", "pandas", "pyarrow", "sklearn", "duckdb", "bokeh", "psutil",
    "obstore", "cryptography", "jinja2", "yaml", "typer", "rich",
)  # fmt: skip
SERVE = """
import sys

for name in {absent!r}:
    sys.modules[name] = None
sys.path[:] = [{wheel!r}, *(path for path in sys.path if path != {root!r})]
import l3ae_dist
assert l3ae_dist.__file__.startswith({wheel!r}), l3ae_dist.__file__
from l3ae_dist.serve.alone import main
main(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheels")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder)]
    for source in (ROOT / "packaging" / "serve", ROOT):
        done = subprocess.run(
            [*command, str(source)], capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr
    return {path.name.split("-")[0]: path for path in folder.glob("*.whl")}


def test_the_wheel_for_serving_has_the_modules_of_the_command_alone(wheels):
    assert set(wheels) == {"l3ae_dist", "l3ae_serve"}
    names = set(zipfile.ZipFile(wheels["l3ae_serve"]).namelist())
    package = {name for name in names if name.startswith("l3ae_dist/")}
    assert {"l3ae_dist/serving.py", "l3ae_dist/serve/app.py", "l3ae_dist/serve/alone.py"} <= package
    assert len(package) < 40
    assert not any(
        part in name for name in package for part in ("/solve/", "/graphs/", "/pipeline/", "/cli/")
    )
    whole = zipfile.ZipFile(wheels["l3ae_dist"])
    assert package <= set(whole.namelist())
    own = zipfile.ZipFile(wheels["l3ae_serve"])
    assert all(own.read(name) == whole.read(name) for name in package)
    assert f"l3ae_serve-{__version__}" in wheels["l3ae_serve"].name


def exported(folder):
    """A small model, fitted and exported."""
    import l3ae_dist

    rng = np.random.default_rng(0)
    x = sparse.random(60, 30, 0.2, random_state=0, format="csr")
    x.data[:] = 1
    config = make_config({
        "workspace": str(folder / "w"), "model": {"name": "ease", "reg_x": 5.0},
        "data": {"options": {"split": "none"}},
        "compute": {"cluster": "synchronous", "memory_budget": "1GiB"},
    })  # fmt: skip
    del rng
    l3ae_dist.run(config, interactions=x, until="fit")
    l3ae_dist.load_model(folder / "w").export_weights(folder / "export", 10)
    return folder / "export"


def test_it_answers_without_the_rest_of_the_package_and_its_dependencies(wheels, tmp_path):
    zipfile.ZipFile(wheels["l3ae_serve"]).extractall(tmp_path / "wheel")
    export = exported(tmp_path)
    script = tmp_path / "serve.py"
    script.write_text(SERVE.format(absent=ABSENT, wheel=str(tmp_path / "wheel"), root=str(ROOT)))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    served = subprocess.Popen(
        [sys.executable, "-P", str(script), str(export), "--port", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    try:
        line = served.stdout.readline()
        assert "30 items at http://127.0.0.1:" in line, line + served.stderr.read()
        url = line.split(" at ")[1].split(";")[0]
        body = json.dumps({"histories": [[1, 2, 3]], "n": 5}).encode()
        asked = urllib.request.Request(f"{url}/recommend", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(asked, timeout=20) as answer:
            assert json.load(answer)
        with urllib.request.urlopen(f"{url}/docs", timeout=20) as page:
            assert page.status == 200
    finally:
        served.terminate()
        served.communicate(timeout=20)
    refused = subprocess.run(
        [sys.executable, "-P", str(script), str(tmp_path / "w"), "--port", "0"],
        capture_output=True, text=True, timeout=60, check=False, env=environment,
    )  # fmt: skip
    assert refused.returncode == 2
    assert "pip install l3ae-dist" in refused.stderr
    assert "Traceback" not in refused.stderr
