# Everything happens in .venv, with the versions of constraints.txt. `make` alone lists the targets.
# Another interpreter: make setup PYTHON=python3.13
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
export GPU_LOG DEVICE
BIN := .venv/bin
INSTALL := install --quiet --constraint constraints.txt --editable '.[dev]'

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-unpaired test mutants torture gpu lint format help-texts dist clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F '\t' '{ printf "make %-14s %s\n", $$1, $$2 }'

setup: .venv/.done  ## make .venv ready; does nothing when it already is

demo: setup  ## train pix2pix on the drawings that ship with diptych, and look at the result
	$(BIN)/diptych demo

demo-unpaired: setup  ## the same without pairs, with CycleGAN
	$(BIN)/diptych demo --unpaired

test: lint  ## everything that CI checks
	$(BIN)/pytest -n 2

# mutmut is no part of `make setup`; pyproject.toml says which files it changes and which tests it runs.
mutants: setup  ## change the code in small ways and list the changes that no test notices; hours, and resumable (docs/mutants.md)
	test -x $(BIN)/mutmut || $(BIN)/pip install --quiet --constraint constraints.txt mutmut
	OMP_NUM_THREADS=1 nice $(BIN)/mutmut run --max-children 1 $(MUTANTS)
	$(BIN)/mutmut results

# atheris is no part of `make setup`; without it the fuzzing says so. docs/reliability.md has the last figures.
torture: setup  ## break every promise by killing, filling, editing and fuzzing; hours, seeded, resumable (ONLY=R7 TRIALS=20 SEED=1)
	OMP_NUM_THREADS=1 nice $(BIN)/python -m tests.torture $(if $(ONLY),--only $(ONLY)) $(if $(TRIALS),--trials $(TRIALS)) $(if $(SEED),--seed $(SEED))

gpu:  ## what only a GPU can check: tests, benchmarks, a short training; no .venv, below 8 minutes, one log (GPU_LOG=runs/gpu.log)
	PYTHON=$(PYTHON) bash tools/check_gpu.sh

lint: setup  ## style and types, without the tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: setup  ## put the code in the house format
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

help-texts: setup  ## write the --help of every command to docs/cli
	$(BIN)/python tools/write_help.py

dist: setup  ## build the wheel and the source archive
	$(BIN)/python -m build --quiet

clean:  ## remove everything that the targets above made, .venv included
	rm -rf .venv dist build mutants .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# uv installs several times faster than pip, which takes over where uv cannot be had or cannot reach what pip reaches.
# uv does not read pip's configuration: without find-links it would miss a local CPU wheel of torch and take CUDA.
.venv/.done: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "error: diptych needs Python 3.11 or newer; name one: make setup PYTHON=..."; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	{ $(BIN)/pip install --quiet --constraint constraints.txt uv && \
	  VIRTUAL_ENV=.venv UV_FIND_LINKS="$${PIP_FIND_LINKS:-$$($(BIN)/pip config get global.find-links 2>/dev/null)}" \
	  $(BIN)/uv pip $(INSTALL) --compile-bytecode --system-certs; } || $(BIN)/pip $(INSTALL)
	touch $@
