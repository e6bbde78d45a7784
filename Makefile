# Everything runs in an environment of its own, .venv; `make env` makes it, the other targets do so when it is missing.
PYTHON ?= python3
BIN = .venv/bin
# TensorFlow's start-up notes would bury tables and progress bars.
export TF_CPP_MIN_LOG_LEVEL ?= 3
# One worker a core; a worker takes neighbouring tests, which share what they compute.
PARALLEL ?= --numprocesses=logical --dist=worksteal

.PHONY: env demo test test-slow lint format bench table clean

env: .venv/.complete

.venv/.complete: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info < (3, 13) else \
	    "Python 3.11 or 3.12 is needed, and $(PYTHON) is another; name one with make PYTHON=python3.11 …")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: env
	$(BIN)/python examples/digits_demo.py

test: env
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow"

test-slow: env
	$(BIN)/python -m pytest $(PARALLEL) -m slow

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: env
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: env
	$(BIN)/python -m benchmarks.forward
	$(BIN)/python -m benchmarks.conversion
	$(BIN)/python -m benchmarks.input_pipeline

# Measures every published model against the reference outputs, and writes the README's table.
table: env
	$(BIN)/python -m pytest -m slow tests/models/test_published_models.py
	$(BIN)/python -m benchmarks.model_table

clean:
	rm -rf .venv build dist *.egg-info runs
