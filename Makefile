# Everything runs in .venv, made on first use with the tested versions of constraints.txt.
# `make help` lists the targets; PYTHON chooses the interpreter (3.11 or newer).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INPUTS := pyproject.toml constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test test-ray test-others test-slow faults faults-ray faults-others chaos fuzz-intake notebooks notebooks-store lint house types parity bench-engine bench-gpu bench-books bench-books-large bench-model \
  bench-accuracy bench-core bench-cluster bench-scaling bench-intake bench-living bench-once plan-check figures docs wheels clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

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

test-slow: $(VENV)/.installed-test  ## the tests that take minutes each: every table in every form, large texts, all published figures
	$(BIN)/pytest -m slow

# those of Ray in one process, beside two for the others: most of the time is that of processes that start or
# are waited for; alone is what waits by the clock
faults: $(VENV)/.installed-test  ## kill processes, damage tiles, fill disks; each run must end in the same bits (minutes)
	@$(MAKE) -j2 --output-sync=line --no-print-directory faults-ray faults-others
	$(BIN)/pytest -n 2 --dist loadfile -m "faults and alone"

faults-ray: $(VENV)/.installed-test  ## of them, those that start Ray, and some that take as long as the others then
	$(BIN)/pytest -m "faults and (ray or third) and not alone"

faults-others: $(VENV)/.installed-test  ## of them, the others that need not be alone
	$(BIN)/pytest -n 2 --dist worksteal -m "faults and not ray and not third and not alone"

# CHAOS takes its options, such as CHAOS='--seed 7 --draws 1000' or, to repeat one, CHAOS='--seed 7 --index 3'
chaos: $(VENV)/.installed-test  ## draw faults against a small job: the undisturbed bits, or a sentence (three minutes)
	OPENBLAS_NUM_THREADS=1 PYTHONPATH=.:tests $(BIN)/python -m chaos $(CHAOS)

# FUZZ takes its options, such as FUZZ='--seed 1 --files 5000'
fuzz-intake: $(VENV)/.installed-test  ## read over 2,000 damaged files: to the rows of other readers, or refused by line (three minutes)
	$(BIN)/python tests/fuzz_intake.py $(FUZZ)

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

# GPU takes its options, such as GPU='--only fit --items 32768' or GPU=--list for how long each part takes
bench-gpu: $(VENV)/.installed-test  ## one NVIDIA GPU: kernels, tile engine, embedding and a whole fit against their peers (ten minutes)
	$(BIN)/python benchmarks/gpu.py $(GPU)

bench-books: $(VENV)/.installed-test  ## fit Amazon Books out of core within 2 GiB
	$(BIN)/python benchmarks/books_out_of_core.py

# BOOKS takes its options: BOOKS=--all for all 119,054 books, BOOKS='--items 3000' for a trial
bench-books-large: $(VENV)/.installed-test  ## fit 72,304 books of Book-Crossing out of core within 2 GiB (an hour)
	$(BIN)/python benchmarks/books_large.py $(BOOKS)

bench-model: $(VENV)/.installed-test  ## sweep, cold start, export, serving
	$(BIN)/python benchmarks/model.py

# ACCURACY takes its options: ACCURACY=--list, or ACCURACY='--only toys/als,industrial --budget 2' for a part of it
bench-accuracy: $(VENV)/.installed-peers  ## every member beside ALS, neighbours, SANSA, LightGCN, AlphaRec: same splits, equal time (a day)
	$(BIN)/python benchmarks/accuracy/run.py $(ACCURACY)
	$(BIN)/python benchmarks/report.py --write

# CORE takes its options: CORE='--data toys --ks 2,5 --users 5000'
bench-core: $(VENV)/.installed-peers  ## what cores lose and cost beside the exact whole, on Amazon Books (hours)
	$(BIN)/python benchmarks/accuracy/core_tail.py $(CORE)

bench-cluster: $(VENV)/.installed-test  ## the back ends against each other, and 1 and 2 workers (minutes)
	$(BIN)/python benchmarks/cluster.py

bench-intake: $(VENV)/.installed-test  ## the intake of 5 and 50 million rows against pandas, DuckDB and Polars, and on two workers (minutes)
	$(BIN)/python benchmarks/intake.py

bench-living: $(VENV)/.installed-test  ## the HTTP service under an open-loop load with swaps, updates and forgetting (half an hour)
	$(BIN)/python benchmarks/living.py

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

wheels: $(VENV)/.installed-test  ## build the wheels l3ae-dist and l3ae-serve into dist/
	$(BIN)/python -m pip wheel -q --no-deps -w dist . ./packaging/serve

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

# SANSA needs SuiteSparse and is left out where it cannot be built
$(VENV)/.installed-peers: $(VENV)/.installed-test
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[peers]'
	$(BIN)/python -m pip install -q sansa || echo "sansa is not installed: it needs SuiteSparse (libsuitesparse-dev)"
	touch $@
