"""The pictures of the README and the documentation, and the demo's output: made from a real run of the demo.

``python docs/pictures.py`` runs the demo in a temporary workspace with a headless Chromium beside it, writes
the pictures and their source's digests to ``docs/_static`` and the output between the marks of README.md;
``tests/test_pictures.py`` fails when a source has changed since.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.request import urlopen

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
STATIC = ROOT / "docs" / "_static"
COMMAND = str(Path(sys.executable).with_name("l3ae-dist"))
RECORD = STATIC / "pictures.json"
# What each picture shows: the files that draw it.
_REPORT = (
    "report/templates/report.html.j2", "report/templates/style.css", "report/templates/base.html.j2",
    "report/run_page.py", "report/wall_time.py", "evaluation/verdict.py", "model/demo.py",
)  # fmt: skip
_DRAWN = ("dashboard_page", "tile_figure", "timelines", "run_view")
_PAGE = tuple(f"runtime/watch/{name}.py" for name in _DRAWN)
SOURCES = {"report-light.png": _REPORT, "report-dark.png": _REPORT, "tiles.png": _PAGE}
_OUTPUT = re.compile(r"(<!-- output: demo -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def digests(name: str) -> dict[str, str]:
    """Return the digest of the files that draw a picture, and of the picture."""
    drawn_by = hashlib.sha256()
    for source in SOURCES[name]:
        drawn_by.update((ROOT / "l3ae_dist" / source).read_bytes())
    return {
        "drawn by": drawn_by.hexdigest()[:16],
        "picture": hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:16],
    }


def demo(workspace: Path) -> str:
    """Run the demo, and return its output."""
    command = [COMMAND, "demo", "--workspace", str(workspace)]
    env = os.environ | {"COLUMNS": "116"}
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=env).stdout


def tiles(workspace: Path) -> None:
    """Run one more model on the demo's data, in smaller tiles, and take a picture of its page at work."""
    from browser import open_page

    errors = workspace.with_suffix(".err")
    settings = ("compute.tile_size=384", "compute.block=1", "model.name=ease", "model.reg_x=150", "grid=null")
    more = [word for setting in settings for word in ("--set", setting)]
    with errors.open("w") as stderr:
        command = [COMMAND, "run", str(workspace), *more]
        run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr)
        while (found := re.search(r"Tiles: (\S+)", errors.read_text())) is None:
            assert run.poll() is None, errors.read_text()
            time.sleep(0.2)
        with open_page(found[1], workspace.with_suffix(".profile")) as page:
            page.call("Emulation.setDeviceMetricsOverride", width=1180, height=800, deviceScaleFactor=1,
                      mobile=False)  # fmt: skip
            while done_of(found[1], "linv") < 120:
                time.sleep(0.2)
            page.screenshot(STATIC / "tiles.png")
        assert run.wait() == 0, errors.read_text()


def done_of(page: str, stage: str) -> int:
    """Return how many tasks of a stage are done, from the page's JSON."""
    with urlopen(f"{page}.json") as answer:  # noqa: S310 - of this machine
        stages = json.load(answer)["stages"]
    return max((one["done"] for one in stages if one["stage"] == stage), default=0)


def report(workspace: Path) -> None:
    """Take pictures of the head of the report, light and dark."""
    from browser import open_page

    path = workspace.with_suffix(".html")
    command = [COMMAND, "report", str(workspace), "--output", str(path)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    text = path.read_text().replace(str(workspace), "demo-workspace")  # no folder of this machine
    path.write_text(text)
    with open_page(path.as_uri(), workspace.with_suffix(".profile2")) as page:
        page.call(
            "Emulation.setDeviceMetricsOverride", width=1180, height=560, deviceScaleFactor=1, mobile=False
        )
        for scheme in ("light", "dark"):
            page.call("Emulation.setEmulatedMedia",
                      features=[{"name": "prefers-color-scheme", "value": scheme}])  # fmt: skip
            time.sleep(1)
            page.screenshot(STATIC / f"report-{scheme}.png")


def excerpt(output: str) -> str:
    """Return a dozen lines of the demo's output: the verdict, the data, and what one user gets."""
    lines = [line.rstrip() for line in output.splitlines()]
    first = next(k for k, line in enumerate(lines) if line.startswith("User "))
    last = next(k for k in range(first, len(lines)) if lines[k].startswith("└"))
    kept = [lines[0], lines[2], *lines[first : last + 1]]
    kept += [line for line in lines if line.startswith(("Accuracy", "Memory", "Time"))]
    return "\n".join(kept)


def main() -> None:
    """Make all of them."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder) / "demo-workspace"
        output = demo(workspace)
        report(workspace)
        tiles(workspace)
    readme = ROOT / "README.md"
    block = f"```text\n{excerpt(output)}\n```\n"
    readme.write_text(_OUTPUT.sub(lambda found: found[1] + block + found[3], readme.read_text()))
    RECORD.write_text(json.dumps({name: digests(name) for name in SOURCES}, indent=1) + "\n")


if __name__ == "__main__":
    main()
