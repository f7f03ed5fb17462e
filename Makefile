# Two commands do everything on a fresh machine:
#   make demo    the lecture's headline experiment, with a report in runs/demo/report.html
#   make test    style, types and every test
# Both install what they need into .venv, once; a second run installs nothing. PYTHON chooses the interpreter when
# .venv is made (make demo PYTHON=python3.12); `make distclean` forgets it.

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3 python3.14 python3.13 python3.12 python3.11
WORKERS ?= 2
DEMO ?= runs/demo
CORE := $(VENV)/.striate-core
DEV := $(VENV)/.striate-dev
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt

.PHONY: help demo test lint format bench clean distclean
.DELETE_ON_ERROR:
.NOTPARALLEL:

help:
	@echo 'make demo    train the demo networks and write $(DEMO)/report.html'
	@echo 'make test    style, types and every test'
	@echo 'make lint    style and types only        make format   apply the style'
	@echo 'make bench   run every file in benchmarks/'
	@echo 'make clean   remove caches               make distclean   remove .venv too'

demo: $(CORE)
	$(BIN)/striate demo --out $(DEMO)

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(DEV)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(DEV)
	@for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python "$$file" || exit 1; done

clean:
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)

# The stamps say what is installed; they are older than these two files exactly when something may be missing.
$(CORE): pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) --editable .
	@touch $@

$(DEV): pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) --editable '.[dev]'
	@touch $(CORE) $@

$(BIN)/python:
	@for python in $(PYTHON); do \
	  if "$$python" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	    echo "Setting up $(VENV) with $$("$$python" --version), once (with PyTorch about 6 GB of disk)"; \
	    exec "$$python" -m venv $(VENV); \
	  fi; \
	done; \
	echo 'Striate needs Python 3.11 or newer with its venv module, and none of these will do: $(PYTHON). Install one (Debian: apt-get install python3-venv), or name one: make demo PYTHON=/path/to/python3' >&2; \
	exit 1
