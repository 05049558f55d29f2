PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# Three stages fill .venv: what the demo needs, what the other targets need, and the benchmarks'
# libraries. Each has a stamp, which is renewed when one of SOURCES changes.
DEMO := .venv/.demo
READY := .venv/.ready
BENCH := .venv/.bench
SOURCES := pyproject.toml portsip_async/_version.py

# An interrupted installation leaves .installing, and packages that pip takes for whole. A .venv whose
# Python doesn't find pip is half made, or has lost its interpreter. Both are replaced.
INSTALLING := .venv/.installing
NEW_VENV := $(shell [ ! -e $(INSTALLING) ] && $(BIN)/python -c 'import pip' 2>/dev/null \
	|| echo new-venv)

export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

# How long `make soak` breaks things. Start and final checks take a few seconds more.
SECONDS ?= 180

.PHONY: help demo test test-pythons test-browser test-fleet fleet-trial redis test-vendor document \
	picture soak lint format types guards docs docs-serve bench bench-quick fault-matrix dist clean \
	new-venv

help:
	@echo "Each target installs what it needs into .venv. The demo needs 54 MB, the others 700 MB."
	@echo
	@echo "make demo          run the SDK against a simulated PBX"
	@echo "make test          run lint, type checks and tests, with coverage"
	@echo "make test-pythons  run the tests on each supported Python that is installed"
	@echo "make test-browser  test the wallboard example in headless Chromium"
	@echo "make test-fleet    test several processes with a real Redis, and kill both"
	@echo "make fleet-trial   watch 200 simulated PBXes for five minutes, and kill the workers"
	@echo "make test-vendor   test against the vendor's OpenAPI document of v22, OPENAPI=path"
	@echo "make soak          run the SDK under load while things break, for SECONDS=180; needs nginx"
	@echo "make guards        remove each safeguard in turn, and check that its tests fail"
	@echo "make format        format the code and fix what ruff can fix"
	@echo "make docs          build the documentation into site/"
	@echo "make docs-serve    serve the documentation, and rebuild it on changes"
	@echo "make picture       take the pictures of the documentation again"
	@echo "make fault-matrix  print the page of the tested faults"
	@echo "make bench         compare the SDK's speed with other clients (about 15 minutes)"
	@echo "make bench-quick   the same with fewer calls (about 2 minutes)"
	@echo "make dist          build the sdist and the wheel"
	@echo "make clean         delete the virtual environment and all caches"

new-venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "$(PYTHON) is not Python 3.11 or later. Name another: make PYTHON=python3.12" >&2; \
		exit 1; }
	@echo "Creating .venv ..."
	@rm -rf .venv
	@$(PYTHON) -m venv .venv

$(DEMO): $(SOURCES) $(NEW_VENV)
	@echo "Installing portsip_async and its command line into .venv (about 20 seconds) ..."
	@rm -f $(DEMO) $(READY) $(BENCH)
	@touch $(INSTALLING)
	@$(PIP) --no-compile --editable '.[cli]'
	@rm $(INSTALLING)
	@touch $(DEMO)

$(READY): $(DEMO)
	@echo "Installing the tools for tests and documentation into .venv (about two minutes) ..."
	@touch $(INSTALLING)
	@$(PIP) --editable '.[cli,otel,dev]'
	@rm $(INSTALLING)
	@touch $(READY)

demo: $(DEMO)
	$(BIN)/portsip-async demo
	@echo "To call it yourself: $(BIN)/portsip-async, or activate .venv with \". $(BIN)/activate\"."

test: lint types
	$(BIN)/python -m pytest -n auto --cov --cov-report=term

# pyenv's commands fail for a Python that is not enabled. So nox gets the folders of its versions.
test-pythons: $(READY)
	PATH="$$(for bin in "$$(pyenv root 2>/dev/null)"/versions/3.*/bin; do printf '%s:' "$$bin"; \
		done)$$PATH" $(BIN)/nox

soak: $(READY)
	$(BIN)/python -m tests.soak --seconds $(SECONDS)

# Debian's packages of Chromium and its driver. Root on Debian gets them automatically.
BROWSER := chromium chromium-driver fonts-dejavu-core

test-browser: $(READY)
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || { \
		if [ -e /etc/debian_version ] && [ "$$(id -u)" = 0 ]; then \
			apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
				apt-get install -qq -y --no-install-recommends $(BROWSER) >/dev/null; \
		else \
			echo "install chromium and chromedriver; on Debian: apt-get install $(BROWSER)" >&2; \
			exit 1; \
		fi; }
	$(BIN)/python -m pytest -m browser $(BROWSER_TESTS)

# An installed redis-server may start a server of its own, on its usual port of loopback.
redis:
	@command -v redis-server >/dev/null || { \
		if [ -e /etc/debian_version ] && [ "$$(id -u)" = 0 ]; then \
			apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
				apt-get install -qq -y --no-install-recommends redis-server >/dev/null; \
		else \
			echo "install redis-server; on Debian: apt-get install redis-server" >&2; \
			exit 1; \
		fi; }

test-fleet: $(READY) redis
	$(BIN)/python -m pytest -m fleet tests/fleet $(FLEET_TESTS)

fleet-trial: $(READY) redis
	$(BIN)/python -m tests.fleet.fleet_trial

# Prism checks requests and replies against an OpenAPI document. Later versions need Node 24.
PRISM_VERSION := 5.14.2
PRISM := .prism/.ready-$(PRISM_VERSION)

$(PRISM):
	@command -v npm >/dev/null || { \
		if [ -e /etc/debian_version ] && [ "$$(id -u)" = 0 ]; then \
			apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
				apt-get install -qq -y --no-install-recommends nodejs npm >/dev/null; \
		else \
			echo "install node and npm; on Debian: apt-get install nodejs npm" >&2; \
			exit 1; \
		fi; }
	rm -rf .prism
	mkdir .prism
	npm install --prefix .prism --no-save --no-package-lock --no-audit --no-fund --loglevel=error \
		@stoplight/prism-cli@$(PRISM_VERSION)
	@touch $(PRISM)

document:
	@[ -f "$(OPENAPI)" ] || { \
		echo "pass the vendor's OpenAPI document of v22: make test-vendor OPENAPI=path" >&2; \
		exit 2; }

test-vendor: document $(READY) $(PRISM)
	PORTSIP_V22_OPENAPI="$$(realpath "$(OPENAPI)")" $(BIN)/python -m pytest -m vendor tests/vendor

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

# The theme warns about a future MkDocs, which this build does not use.
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
	@echo "Installing the libraries to compare with into .venv ..."
	@$(PIP) --editable '.[bench]'
	@touch $(BENCH)

bench: $(BENCH)
	$(BIN)/python -m benchmarks

bench-quick: $(BENCH)
	$(BIN)/python -m benchmarks --quick

fault-matrix: $(READY)
	$(BIN)/python -m tests.faults

clean:
	rm -rf .venv .nox .prism dist build .coverage htmlcov .pytest_cache .mypy_cache .ruff_cache .hypothesis
