PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
BENCH := .venv/.bench

export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

# Of trouble that `make soak` makes; the rest of it takes a few seconds more.
SECONDS ?= 45

.PHONY: help demo test test-pythons test-browser picture soak lint format types guards docs \
	docs-serve bench bench-quick fault-matrix dist clean

help:
	@echo "make demo    watch the SDK work against an embedded PBX"
	@echo "make test    lint, types, tests and coverage"
	@echo "make test-pythons  the tests on each supported Python that is installed"
	@echo "make soak    everything at once, broken on purpose, for SECONDS=45; needs nginx"
	@echo "make guards  take each guard out in turn, and see its tests turn red"
	@echo "make test-browser  the wallboard of the examples in headless Chromium"
	@echo "make docs    build the documentation into site/; docs-serve: read it while you write"
	@echo "make bench   measure the SDK beside others (about 8 minutes); bench-quick: two"
	@echo "make dist    build the sdist and the wheel"
	@echo "make fault-matrix  print the tested faults as a page of the documentation"
	@echo "make format  format the code and mend what can be mended"

$(READY): pyproject.toml portsip_async/_version.py
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[cli,otel,dev]'
	@touch $(READY)

demo: $(READY)
	$(BIN)/portsip-async demo

test: lint types
	$(BIN)/python -m pytest -n auto --cov --cov-report=term

# pyenv's commands fail for a Python that is not enabled, so nox looks at where it keeps them.
test-pythons: $(READY)
	PATH="$$(for bin in "$$(pyenv root 2>/dev/null)"/versions/3.*/bin; do printf '%s:' "$$bin"; \
		done)$$PATH" $(BIN)/nox

soak: $(READY)
	$(BIN)/python -m tests.soak --seconds $(SECONDS)

# Debian's Chromium and its driver, fetched where that may be done without asking.
BROWSER := chromium chromium-driver fonts-dejavu-core

test-browser: $(READY)
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || { \
		if [ -e /etc/debian_version ] && [ "$$(id -u)" = 0 ]; then \
			apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
				apt-get install -qq -y --no-install-recommends $(BROWSER) >/dev/null; \
		else \
			echo "chromium and chromedriver are needed; on Debian: apt-get install $(BROWSER)" >&2; \
			exit 1; \
		fi; }
	$(BIN)/python -m pytest -m browser $(BROWSER_TESTS)

picture: $(READY)
	$(BIN)/python -m tests.docs.picture
	WALLBOARD_PICTURE=docs/images/wallboard.png $(MAKE) test-browser BROWSER_TESTS='-k picture'

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(READY)
	$(BIN)/mypy
	$(BIN)/pyright
	PATH="$(CURDIR)/$(BIN):$$PATH" pyright --verifytypes portsip_async --ignoreexternal

guards: $(READY)
	$(BIN)/python -m tests.guards

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The theme's word on what may come of a later MkDocs is no concern of this build.
docs docs-serve: export NO_MKDOCS_2_WARNING := 1
docs docs-serve: export DISABLE_MKDOCS_2_WARNING := true

docs: $(READY)
	$(BIN)/python -m tests.docs
	$(BIN)/mkdocs build --strict

docs-serve: $(READY)
	$(BIN)/mkdocs serve --strict

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

fault-matrix: $(READY)
	$(BIN)/python -m tests.faults

clean:
	rm -rf .venv .nox dist build .coverage htmlcov .pytest_cache .mypy_cache .ruff_cache .hypothesis
