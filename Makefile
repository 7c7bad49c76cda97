# Everything runs in .venv, made on first use with the tested versions of constraints.txt.
# `make help` lists the targets; PYTHON chooses the interpreter (3.11 or newer).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INPUTS := pyproject.toml constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test test-ray test-others faults notebooks notebooks-store lint house types parity bench-engine bench-gpu bench-books bench-model \
  bench-cluster bench-scaling bench-once plan-check figures docs clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.installed-demo  ## run the whole job on MovieLens and print the result
	$(BIN)/l3ae-dist demo

# two Rays at once fail: their tests run in one process, beside two processes for all others; the figures of the
# published code have a target of their own
test: $(VENV)/.installed-test  ## run the test suite (real Ray, real Dask)
	@$(MAKE) -j2 --output-sync=line --no-print-directory test-ray test-others

test-ray: $(VENV)/.installed-test  ## of it, the tests that start Ray
	$(BIN)/pytest -m "ray and not slow and not faults and not parity"

test-others: $(VENV)/.installed-test  ## of it, all others
	$(BIN)/pytest -n 2 --dist loadfile -m "not ray and not slow and not faults and not parity"

faults: $(VENV)/.installed-test  ## kill processes, damage tiles, fill disks; each run must end in the same bits (minutes)
	$(BIN)/pytest -m faults

# warnings are those of pytest's own process; the kernels have theirs
notebooks: $(VENV)/.installed-test  ## run the notebooks from top to bottom, offline (minutes)
	$(BIN)/pytest --nbmake --timeout=240 --override-ini=addopts= --durations=0 notebooks

notebooks-store: $(VENV)/.installed-test  ## run the notebooks and store them with their outputs
	$(BIN)/python notebooks/store.py

lint: house  ## check style, formatting and structure
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

house: $(VENV)/.installed-test  ## count what the structure is held to; fails where a bound is crossed
	$(BIN)/python tests/house.py

types: $(VENV)/.installed-test  ## check types, strictly
	$(BIN)/mypy

parity: $(VENV)/.installed-test  ## compare with the published code's figures (minutes)
	$(BIN)/pytest -m parity

bench-engine: $(VENV)/.installed-test  ## the tile engine against LAPACK, dask.array and the published formulas
	$(BIN)/python benchmarks/engine.py

bench-gpu: $(VENV)/.installed-test  ## one NVIDIA GPU: its kernels, and the tile engine against torch in core
	$(BIN)/python benchmarks/gpu.py

bench-books: $(VENV)/.installed-test  ## fit Amazon Books out of core within 2 GiB
	$(BIN)/python benchmarks/books_out_of_core.py

bench-model: $(VENV)/.installed-test  ## sweep, cold start, export, serving
	$(BIN)/python benchmarks/model.py

bench-cluster: $(VENV)/.installed-test  ## the back ends against each other, and 1 and 2 workers (minutes)
	$(BIN)/python benchmarks/cluster.py

plan-check: $(VENV)/.installed-test  ## plan a million items in under five seconds, and refuse what cannot run
	$(BIN)/python benchmarks/plan_check.py

bench-scaling: $(VENV)/.installed-test  ## strong and weak scaling, the simulator against real runs, a million items simulated (long)
	$(BIN)/python benchmarks/scaling/strong_weak.py
	$(BIN)/python benchmarks/scaling/simulator.py
	$(BIN)/python benchmarks/scaling/million.py

bench-once: $(VENV)/.installed-test  ## every benchmark in asv's form once; counts of tasks and bytes must be the expected ones
	OPENBLAS_NUM_THREADS=1 $(BIN)/pytest benchmarks -q

figures: $(VENV)/.installed-demo $(VENV)/.installed-test  ## measure every figure of docs/benchmarks.md and write its tables (hours)
	$(BIN)/python benchmarks/figures.py

docs: $(VENV)/.installed-test  ## build the documentation, warnings are errors, and run its examples
	$(BIN)/python -m sphinx -q -W --keep-going -E -b html docs docs/_build/html
	$(BIN)/pytest --doctest-modules --doctest-glob='*.md' -q l3ae_dist docs/*.md docs/decisions/*.md
	@echo "open docs/_build/html/index.html"

clean:  ## remove caches and the demo's workspace; the environment stays
	rm -rf demo-workspace benchmarks/.asv build dist docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find l3ae_dist tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# torch comes first and alone, so that a CPU build is taken where one is offered
$(VENV)/.created: $(INPUTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; use make PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt torch
	touch $@

$(VENV)/.installed-demo: $(VENV)/.created
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[demo]'
	touch $@

$(VENV)/.installed-test: $(VENV)/.created
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[test,dev]'
	touch $@ $(VENV)/.installed-demo
