# Every target makes the environment it needs; a bare machine needs Python 3.11 or newer, git and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
export OMP_NUM_THREADS ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export NO_MKDOCS_2_WARNING := 1

.PHONY: demo test long proofs check docs bench chaos clean help

help:
	@echo "make demo   four nodes train one network on this machine (ARGS=--json for machines)"
	@echo "make test   the tests, but for what takes long and for the proofs"
	@echo "make long   what takes long: nodes killed and parted, the demo, the documents' commands, fuzzing"
	@echo "make proofs what tests show at length: more seeds, all combinations, MNIST"
	@echo "make check  lint, types, architecture, documents"
	@echo "make docs   the documents as a site: site/index.html"
	@echo "make chaos  nodes are killed, stopped, cut off while they train (ARGS=--list; ARGS=--short)"
	@echo "make bench  the benchmarks of docs/benchmarks.md"

$(VENV)/user: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "edged needs Python 3.11 or newer: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/dev: $(VENV)/user
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,docs]'
	@touch $@

demo: $(VENV)/user
	@$(BIN)/edged demo $(ARGS)

test: $(VENV)/dev
	$(BIN)/pytest -n 2 --no-loadscope-reorder $(ARGS)

long: $(VENV)/dev
	$(BIN)/pytest -n 2 --no-loadscope-reorder -m "long and not proof" $(ARGS)

proofs: $(VENV)/dev
	$(BIN)/pytest -n 2 --no-loadscope-reorder -m proof $(ARGS)

check: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/mkdocs build --strict

# Not --quiet: with it, mkdocs 1.6 lets every warning pass in spite of --strict.
docs: $(VENV)/dev
	$(BIN)/mkdocs build --strict

chaos: $(VENV)/dev
	$(BIN)/python scripts/chaos.py $(ARGS)

bench: $(VENV)/dev
	$(BIN)/python scripts/bench_all.py $(ARGS)

clean:
	rm -rf $(VENV) site .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
