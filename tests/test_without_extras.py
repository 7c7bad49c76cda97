"""The core without torch, Ray and sentence-transformers: it solves, and says in a sentence what it lacks."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import yaml

# As if the packages were not installed: imports of them fail, and nothing finds them.
CORE = """
import sys

for name in ("torch", "ray", "sentence_transformers", "transformers", "huggingface_hub"):
    sys.modules[name] = None
from l3ae_dist.cli.app import main

if __name__ == "__main__":
    sys.argv[0] = "l3ae-dist"
    main()
"""


@pytest.fixture
def call(tmp_path):
    (script := tmp_path / "core.py").write_text(CORE)

    def run(*arguments):
        command = [sys.executable, str(script), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    return run


@pytest.fixture
def config(tmp_path):
    rng = np.random.default_rng(0)
    log = pd.DataFrame({"user_id": rng.integers(0, 90, 900), "item_id": rng.integers(0, 40, 900)})
    log.drop_duplicates().to_parquet(tmp_path / "log.parquet")
    pd.DataFrame({"item_id": range(40), "title": [f"thing {i}" for i in range(40)]}).to_parquet(
        tmp_path / "items.parquet"
    )
    np.save(tmp_path / "f.npy", rng.standard_normal((40, 8)).astype(np.float32))
    values = {
        "workspace": str(tmp_path / "w"),
        "data": {
            "interactions": str(tmp_path / "log.parquet"), "items": str(tmp_path / "items.parquet"),
            "embeddings": str(tmp_path / "f.npy"), "options": {"split": "random"},
        },
        "model": {"reg_x": 10, "reg_f": 5, "reg_e": 10},
        "evaluate": {"bootstrap": 0},
        "compute": {"cluster": "synchronous", "memory_budget": "1GiB"},
    }  # fmt: skip
    (path := tmp_path / "config.yaml").write_text(yaml.safe_dump(values))
    return path


def test_a_whole_job_with_given_embeddings_needs_none_of_them(call, config, tmp_path):
    for arguments in (
        ("run", config),
        ("status", tmp_path / "w"),
        ("recommend", tmp_path / "w", "3", "-n", "3"),
        ("export", tmp_path / "w", tmp_path / "export"),
        ("plan", "--items", "1e5", "--users", "1e6", "--interactions", "1e7", "--set", "model.name=ease"),
        ("verify", tmp_path / "w"),
    ):
        done = call(*arguments)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("settings", "extra", "what"),
    [
        (
            ("data.embeddings=null",),
            "embed",
            "embedding item texts needs sentence_transformers, torch, ray, huggingface_hub",
        ),
        (
            ("data.embeddings=null", "encoder.model=Qwen/Qwen3-Embedding-8B"),
            "embed",
            "needs sentence_transformers, torch, ray, huggingface_hub",
        ),
        (("compute.cluster=ray",), "ray", "compute.cluster: ray needs ray"),
        (("compute.device=cuda",), "gpu", "compute.device: cuda needs torch"),
    ],
)
def test_what_is_missing_is_one_sentence_with_the_line_that_installs_it(call, config, settings, extra, what):
    done = call("run", config, *(part for one in settings for part in ("--set", one)))
    told = " ".join(done.stderr.split())
    assert done.returncode == 2, told
    assert what in told
    assert f"pip install 'l3ae-dist[{extra}]'" in told
    assert "Traceback" not in told


def test_doctor_says_what_is_missing_and_does_not_fail_by_itself(call):
    done = call("doctor")
    assert "Traceback" not in done.stderr + done.stdout
    assert "internal error" not in done.stderr
