PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
BENCH := .venv/.bench

export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.PHONY: help demo test lint format types bench bench-quick dist clean

help:
	@echo "make demo    watch the SDK work against an embedded PBX"
	@echo "make test    lint, types, tests and coverage"
	@echo "make bench   measure the SDK beside others (about 4 minutes); bench-quick: under one"
	@echo "make dist    build the sdist and the wheel"
	@echo "make format  format the code and mend what can be mended"

$(READY): pyproject.toml portsip_async/_version.py
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[cli,otel,dev]'
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
	PATH="$(CURDIR)/$(BIN):$$PATH" pyright --verifytypes portsip_async --ignoreexternal

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

dist: $(READY)
	rm -rf dist
	$(BIN)/python -m build --no-isolation

$(BENCH): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $(BENCH)

bench: $(BENCH)
	$(BIN)/python -m benchmarks

bench-quick: $(BENCH)
	$(BIN)/python -m benchmarks --quick

clean:
	rm -rf .venv dist build .coverage htmlcov .pytest_cache .mypy_cache .ruff_cache .hypothesis
