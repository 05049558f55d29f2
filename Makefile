PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
BENCH := .venv/.bench

export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.PHONY: help demo test lint format types docs docs-serve bench bench-quick fault-matrix clean

help:
	@echo "make demo    watch the SDK work against an embedded PBX"
	@echo "make test    lint, types, tests and coverage"
	@echo "make docs    build the documentation into site/; docs-serve: read it while you write"
	@echo "make bench   measure the SDK beside others (about 4 minutes); bench-quick: under one"
	@echo "make fault-matrix  print the tested faults as a page of the documentation"
	@echo "make format  format the code and mend what can be mended"

$(READY): pyproject.toml portsip_async/_version.py
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[cli,dev]'
	@touch $(READY)

demo: $(READY)
	$(BIN)/portsip-async demo

test: lint types
	$(BIN)/python -m pytest --cov --cov-report=term

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(READY)
	$(BIN)/mypy
	$(BIN)/pyright

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The theme's word on what may come of a later MkDocs is no concern of this build.
docs docs-serve: export NO_MKDOCS_2_WARNING := 1
docs docs-serve: export DISABLE_MKDOCS_2_WARNING := true

docs: $(READY)
	$(BIN)/python -m docs
	$(BIN)/mkdocs build --strict --quiet

docs-serve: $(READY)
	$(BIN)/mkdocs serve --strict

$(BENCH): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $(BENCH)

bench: $(BENCH)
	$(BIN)/python -m benchmarks

bench-quick: $(BENCH)
	$(BIN)/python -m benchmarks --quick

fault-matrix: $(READY)
	$(BIN)/python -m tests.faults

clean:
	rm -rf .venv dist build .coverage htmlcov .pytest_cache .mypy_cache .ruff_cache .hypothesis
