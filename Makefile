# One file for people and for CI. `make quickstart` and `make test` do everything on a fresh machine, .venv included.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
# torch on its own and first: a machine without a GPU can take the small CPU build with
#   make quickstart TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
PYTEST := $(BIN)/python -m pytest -n 2
# Some machines and images forbid Python to keep what it has compiled: then each of the suite's processes compiles all anew.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: quickstart base-model base-model-gpu check test test-slow fuzz bench bench-gpu clean
.DEFAULT_GOAL := test

quickstart: $(STAMP)
	$(BIN)/codetune quickstart

base-model: $(STAMP)
	$(BIN)/codetune data prepare recipes/base-model.yaml
	$(BIN)/codetune train recipes/base-model.yaml
	$(BIN)/python -m codetune.pretraining.ship runs/base-model

# On a machine with a GPU; goes on where it was stopped: make base-model-gpu LIMIT=540 takes nine minutes at a time.
base-model-gpu: $(STAMP)
	$(BIN)/python -m codetune.pretraining recipes/base-model-gpu.yaml --time-limit $(LIMIT)

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_layers.py

test: $(STAMP)
	$(PYTEST) -m "not slow"

test-slow: $(STAMP)
	$(PYTEST) -m slow

fuzz: $(STAMP)
	CODETUNE_FUZZ=100000 $(BIN)/python -m pytest tests/data/test_fuzz.py tests/sandbox/test_protocol_fuzz.py

bench: $(STAMP)
	$(BIN)/python -m bench all

# On a machine with a GPU; goes on where it was stopped: make bench-gpu LIMIT=540 takes nine minutes at a time.
LIMIT ?= 0
bench-gpu: $(STAMP)
	$(BIN)/python -m bench gpu --keep --peers make --time-limit $(LIMIT)

clean:
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "codetune needs Python 3.11 or newer, $(PYTHON) is $$($(PYTHON) --version 2>&1); name another one: make PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -c constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
