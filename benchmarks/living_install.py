"""Part of the benchmark of a model that lives: what serving takes to install, in a bare environment."""

import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from report import row
from scipy import sparse

import l3ae_dist

Rows = list[dict[str, Any]]
ROOT, LIMIT = Path(__file__).resolve().parents[1], 350


def folder_bytes(folder: Path) -> int:
    """Add up the files of a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def exported(folder: Path) -> Path:
    """Fit and export a small model."""
    x = sparse.random(200, 80, 0.1, random_state=0, format="csr")
    x.data[:] = 1
    compute = {"cluster": "synchronous", "memory_budget": "1GiB"}
    model = l3ae_dist.EASE(reg_x=5.0, compute=compute).fit(x, workspace=folder / "workspace")
    model.export_weights(folder / "export", 10)
    return folder / "export"


def asked(command: list[str]) -> tuple[float, int]:
    """Start a service, ask it once, end it; return the seconds to the answer and the items of the list."""
    started = time.perf_counter()
    served = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert served.stdout is not None
        url = served.stdout.readline().split(" at ")[1].split(";")[0]
        body = json.dumps({"histories": [[1, 50]], "n": 5}).encode()
        request = urllib.request.Request(f"{url}/recommend", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return time.perf_counter() - started, len(json.load(answer)["results"][0])
    finally:
        served.terminate()
        served.communicate(timeout=30)


def rows(details: dict[str, Any]) -> Rows:
    """Build the wheel, install it alone, and ask."""
    with tempfile.TemporaryDirectory(prefix="l3ae-install-") as place:
        folder = Path(place)
        pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder / "wheels")]
        subprocess.run([*pip, str(ROOT / "packaging" / "serve")], check=True)
        (wheel,) = (folder / "wheels").glob("*.whl")
        subprocess.run([sys.executable, "-m", "venv", str(folder / "bare")], check=True)
        commands = folder / "bare" / "bin"
        subprocess.run([str(commands / "pip"), "install", "-q", str(wheel)], check=True)
        size = folder_bytes(folder / "bare")
        listed = subprocess.run(
            [str(commands / "pip"), "list", "--format", "json"], check=True, capture_output=True, text=True
        )
        details["install"] = json.loads(listed.stdout)
        seconds, items = asked([str(commands / "l3ae-serve"), str(exported(folder)), "--port", "0"])
        return [
            row("install for serving an export, in an environment of its own", size / 1e6, "MB",
                target=LIMIT, smaller=True),
            row("  packages in it", len(details["install"]), "packages"),
            row("  its wheel", wheel.stat().st_size / 1e3, "kB"),
            row("  from its start to an answer", seconds if items == 5 else float("inf"), "s"),
        ]  # fmt: skip
