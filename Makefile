# Everything a user or developer runs; needs only Python 3.11 or newer, git and make.

PYTHON ?= python3
VENV ?= .venv

BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt
SOURCES := $(shell find batman_cli weights -type f -not -name '*.pyc' 2>/dev/null)

# Stamps: `plain` is the package as users install it, `dev` is editable and has the test tools.
PLAIN := $(VENV)/.plain
DEV := $(VENV)/.dev
# One environment holds one of them; once it is a developer's, the demo uses that.
READY := $(if $(wildcard $(DEV)),$(DEV),$(PLAIN))

.PHONY: help demo test check format clean
.DELETE_ON_ERROR:

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(READY) ## enhance the example burst into demo.mp4
	$(BIN)/batman enhance examples/burst -o demo.mp4 --overwrite
	@echo "The result is $(CURDIR)/demo.mp4"

test: $(DEV) ## the whole test suite
	$(BIN)/python -m pytest

check: $(DEV) ## format, lint, types and the fast tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/python -m pytest -m "not slow and not fault"

format: $(DEV) ## rewrite the code as `make check` wants it
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove the environment, caches and results
	rm -rf $(VENV) build dist demo.mp4 .pytest_cache .ruff_cache .hypothesis
	find batman_cli tests examples -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "batman needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)

$(PLAIN): pyproject.toml constraints.txt $(SOURCES) | $(BIN)/python
	@echo "Installing into $(VENV); the first time takes some minutes."
	$(INSTALL) .
	@touch $@

$(DEV): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing into $(VENV); the first time takes some minutes."
	$(INSTALL) --editable '.[dev]'
	@touch $@
