# Two commands on a bare clone: `make demo` and `make test`. Both make .venv once.
PYTHON ?= python3
BIN := .venv/bin
# One thread a process: the demo and the tests run as many processes as there are cores.
export OMP_NUM_THREADS ?= 1

.PHONY: demo test check format help

help:
	@echo "make demo     run the study in minutes on embedded data, and draw its figures"
	@echo "make test     format and lint checks, types, tests"
	@echo "make format   rewrite the code in the project's format"

demo: .venv/installed
	$(BIN)/python scripts/reproduce.py scale=demo

test: check
	$(BIN)/python -m pytest -n auto

check: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyrefly check

format: .venv/installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Stamped last, so that a broken installation is not taken for one.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "bnstudy needs Python 3.11 or later; run: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@
