# `make demo` trains the example, `make test` checks everything, `make faults` kills and damages runs for an hour,
# `make benchmarks` measures. All make the virtual environment in .venv where it is missing.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
DEMO_ARGS ?=

FAULTS ?=
BENCHMARKS ?=

.PHONY: demo test lint types unit faults benchmarks clean

demo: $(VENV)/.examples
	$(BIN)/python examples/digits/train.py $(DEMO_ARGS)

test: lint types unit

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

types: $(VENV)/.dev
	$(BIN)/mypy

unit: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2

faults: $(VENV)/.dev
	$(BIN)/python tests/faults $(FAULTS)

benchmarks: $(VENV)/.dev
	$(BIN)/python benchmarks $(BENCHMARKS)

clean:
	rm -rf $(VENV) work_dirs .mypy_cache .pytest_cache .ruff_cache .hypothesis

# torch goes first, and alone: what depends on it must find it there.
$(VENV)/.torch: constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "mainspring needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Say: make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) torch
	@touch $@

$(VENV)/.examples: $(VENV)/.torch pyproject.toml
	$(INSTALL) --editable '.[examples]'
	@touch $@

$(VENV)/.dev: $(VENV)/.torch pyproject.toml
	$(INSTALL) --editable '.[dev]'
	@touch $@
