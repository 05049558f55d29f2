PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
BENCH := .venv/.bench

export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

# Of trouble that `make soak` makes; the rest of it takes a few seconds more.
SECONDS ?= 45

.PHONY: help demo test soak lint format types guards bench bench-quick fault-matrix clean

help:
	@echo "make demo    watch the SDK work against an embedded PBX"
	@echo "make test    lint, types, tests and coverage"
	@echo "make soak    everything at once, broken on purpose, for SECONDS=45; needs nginx"
	@echo "make guards  take each guard out in turn, and see its tests turn red"
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

soak: $(READY)
	$(BIN)/python -m tests.soak --seconds $(SECONDS)

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(READY)
	$(BIN)/mypy
	$(BIN)/pyright

guards: $(READY)
	$(BIN)/python -m tests.guards

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

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
