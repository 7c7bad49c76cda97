"""Spans of a real run, taken by the SDK of OpenTelemetry."""

import subprocess
import sys

import pytest

# A process of its own: a provider of spans is set once.
RUN = """
import sys
import numpy as np, pandas as pd
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
import l3ae_dist

if __name__ == "__main__":
    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    trace.set_tracer_provider(provider)
    rng = np.random.default_rng(0)
    log = pd.DataFrame({"user_id": rng.integers(0, 90, 900), "item_id": rng.integers(0, 40, 900)})
    seen, bad = [], sys.argv[2] == "bad"
    try:
        l3ae_dist.EASE(reg_x=10.0, compute={"cluster": "synchronous", "memory_budget": "4KiB" if bad else "1GiB"}).fit(
            log.drop_duplicates(), workspace=sys.argv[1], on_event=seen.append)
    except l3ae_dist.errors.L3AEError as error:
        print("refused", type(error).__name__)
    spans = kept.get_finished_spans()
    root = [one for one in spans if one.name == "l3ae_dist run"]
    assert len(root) == 1, [one.name for one in spans]
    stages = [one for one in spans if one is not root[0]]
    assert all(one.parent.span_id == root[0].context.span_id for one in stages)
    assert all(root[0].start_time <= one.start_time <= one.end_time <= root[0].end_time for one in stages)
    assert bad or any(event.kind == "stage_end" for event in seen)
    print(root[0].status.status_code.name, *sorted(one.name for one in stages))
    gram = [one for one in stages if one.name == "l3ae_dist gram"]
    assert bad or gram[0].attributes["l3ae.tasks"] >= 1
"""


@pytest.mark.parametrize(("how", "status"), [("good", "UNSET"), ("bad", "ERROR")])
def test_a_run_and_its_stages_are_spans(tmp_path, how, status):
    pytest.importorskip("opentelemetry.sdk")
    (script := tmp_path / "run.py").write_text(RUN)
    command = [sys.executable, str(script), str(tmp_path / "w"), how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()[-1]
    assert said.split()[0] == status
    if how == "good":
        assert {"l3ae_dist gram", "l3ae_dist factor", "l3ae_dist invert"} <= set(
            said.replace(" l3ae_dist", ";l3ae_dist").split(";")
        )


def test_without_a_provider_the_events_go_to_the_caller_alone():
    from l3ae_dist.runtime.spans import with_spans

    def take(event):
        del event

    assert with_spans(take) is take
    assert with_spans(None) is None
