# What a person or a CI runs. `make` lists the targets; each works on a fresh machine that has Python 3.11 to 3.13.

# The first Python of the supported range; choose another with `make install PYTHON=python3.13`.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
STAMP := .venv/installed

# Processes that pytest spreads the tests over; each has its own servers. Many tests wait, so more than there are cores.
TEST_PROCESSES ?= 4
# Further arguments for `up`, `test`, `demo` and `bench`, such as ARGS="--port 9000" or ARGS="-k flusher".
ARGS ?=
# How many faults `make torture` runs, and how long `make soak` lasts.
RUNS ?= 60
MINUTES ?= 30
# How many interrupted recoveries `make recovery` plays.
ROUNDS ?= 300
# Where `make docs` builds the site.
SITE ?= site
# How many commands `make model` compares, and which promise `make promise` tries.
STEPS ?= 2000000
NAME ?=

.DEFAULT_GOAL := help
.PHONY: help install up test check lint types imports lua-lint contract audit-deps planted mutants model torture soak recovery promise demo bench docs screenshots lock clean

help: ## list the targets
	@echo "Holdfast: an inventory reservation engine. Targets:"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{printf "%-16s %s\n", $$1, $$2}'

install: $(STAMP) ## build .venv with every dependency and .venv/bin/holdfast in it

$(STAMP): pyproject.toml requirements.lock
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed and was not found on PATH"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[dev]'
	@touch $(STAMP)

up: $(STAMP) ## run the whole service here, data in var/holdfast (or HOLDFAST_DATA_DIR)
	@exec $(BIN)/holdfast up --end-with-parent $(if $(HOLDFAST_DATA_DIR),,--data-dir var/holdfast) $(ARGS)

test: $(STAMP) ## run all tests, on real servers they start themselves
	$(BIN)/pytest -n $(TEST_PROCESSES) $(ARGS)

check: lint types imports lua-lint contract docs ## everything that can be checked without running the service

lint: $(STAMP) ## style and format of the Python code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP) ## mypy, strict
	$(BIN)/mypy

imports: $(STAMP) ## imports run one way
	$(BIN)/lint-imports

lua-lint: $(STAMP) ## the Lua state machine: syntax, globals, includes
	$(BIN)/python -m engine.lua_lint

contract: $(STAMP) ## headers of the Lua files, their bodies and the Python enums say the same
	$(BIN)/pytest -q -k contract tests/scripts tests/engine

audit-deps: $(STAMP) ## known holes in the locked dependencies (asks PyPI, so it needs the network), bandit over our code
	$(BIN)/bandit -q -c pyproject.toml -r engine persistence inventory worker api runtime
	$(BIN)/pip-audit --strict --no-deps --disable-pip -r requirements.lock

planted: $(STAMP) ## plant each of our known bugs in a copy of the project: a test must catch every one (ARGS="--only TEXT")
	$(BIN)/python -m tests.planted $(ARGS)

mutants: $(STAMP) ## try every small change to the Lua state machine against its tests (ARGS="--sample 200 --seed 1")
	$(BIN)/python -m tests.mutants $(ARGS)

model: $(STAMP) ## the engine against a plain model in Python, STEPS=2000000 random commands
	$(BIN)/python -m tests.model --steps $(STEPS) $(ARGS)

torture: $(STAMP) ## faults against real services, each judged; RUNS=1200 for a long one, ARGS="--list" for the list
	$(BIN)/python -m tests.torture --runs $(RUNS) $(ARGS)

soak: $(STAMP) ## one service under load, a fault every 20 s, for MINUTES=30: promises kept, memory flat
	$(BIN)/python -m tests.torture.soak --minutes $(MINUTES) $(ARGS)

promise: $(STAMP) ## run the tests that a promise stands on: NAME=never-oversold; without NAME, list them
	$(BIN)/python -m tests.promises $(NAME)

recovery: $(STAMP) ## recoveries that are killed, stopped and overtaken, ROUNDS=300 of them, each with its seed
	HOLDFAST_RECOVERY_ROUNDS=$(ROUNDS) $(BIN)/pytest -n 0 -q -s tests/worker/test_recovery_rounds.py $(ARGS)

demo: $(STAMP) ## play the sample of a real shop's orders through a throw-away service, then hold it against the file
	$(BIN)/holdfast replay --embedded $(ARGS)

bench: $(STAMP) ## measure, each goal against its rival in the same run
	$(BIN)/python -m bench $(ARGS)

docs: $(STAMP) ## the documentation as a site, in site/; every link and every page of it checked
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --clean --site-dir $(SITE)

screenshots: $(STAMP) ## take the pictures of the console in docs/images (needs Chromium)
	$(BIN)/python -m tests.console.screenshots

lock: $(STAMP) ## write the versions of .venv into requirements.lock
	$(BIN)/python -m pip freeze --exclude-editable > requirements.lock

clean: ## remove what make and the tools made; the data directory stays
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
