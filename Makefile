# The life of batch models on Apache Airflow. `make` lists what there is; `make demo` shows all of it.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
# text, file names and output are UTF-8 in every locale
export PYTHONUTF8 := 1

PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
STACK := PYTHONPATH=. $(BIN)/python -m include.stack
PYTEST := PYTHONPATH=.:plugins $(BIN)/pytest
# a file to a worker: what a file prepares is prepared once; the end-to-end tests have a stack and stay one process
PARALLEL := -n auto --dist loadfile
CODE := $(wildcard dags plugins include feast_repo tests docs)
TYPED := $(wildcard include plugins docs)

# find-links of pip are handed to uv, which does not read pip's settings: there a machine may offer
# builds of its own, such as a small CPU build of torch
FIND_LINKS = links="$${UV_FIND_LINKS:-$${PIP_FIND_LINKS:-$$($(BIN)/pip config get global.find-links 2>/dev/null || true)}}"; \
  UV_FIND_LINKS="$$(echo $$links | tr ' ' ',')"
UV_VERSION := $(shell sed -n 's/^uv==//p' requirements.txt)

##@ Use it
.PHONY: demo up down status passwords shell rebuild verify
demo: setup ## the whole chain on real flights, with progress and a summary; leaves the services up
	@$(STACK) demo

up: setup ## start PostgreSQL, Airflow and MLflow; what runs already is left alone
	@$(STACK) up

down: ## stop them all; what is stored stays
	@if [ -e $(STAMP) ]; then $(STACK) down; else echo "nothing is installed, so nothing runs"; fi

status: setup ## what runs, where it listens, where its log is
	@$(STACK) status

passwords: setup ## print the generated logins
	@$(STACK) passwords

shell: setup ## a shell in which `airflow` and `mlflow` act on this stack (make shell ARGS="airflow dags list")
	@$(STACK) shell $(ARGS)

rebuild: setup ## make a model's training set again and prove its hash (make rebuild CASE=flights MODEL=1)
	@: $(or $(CASE),$(error give the use case and the model version: make rebuild CASE=flights MODEL=1))
	@: $(or $(MODEL),$(error give the model version too: make rebuild CASE=$(CASE) MODEL=1))
	@$(STACK) shell python -m include.steps.train.rebuild --use-case $(CASE) --model $(MODEL)

verify: setup ## compare every partition of the lake with its publish record (CASE=flights; all without CASE)
	@$(STACK) shell python -m include.steps.verify $(if $(CASE),--use-case $(CASE))

##@ Change it
.PHONY: test test-unit test-dags test-e2e lint format types arrows schema
test: setup ## every test, the end-to-end ones included
	@$(PYTEST) $(PARALLEL) $(wildcard tests/unit tests/sql tests/dags tests/operators) $(ARGS)
	@$(PYTEST) $(wildcard tests/e2e) $(ARGS)

test-unit: setup ## what needs no Airflow and no server
	@$(PYTEST) $(PARALLEL) $(wildcard tests/unit tests/sql) $(ARGS)

test-dags: setup ## DAGs load, operators execute
	@$(PYTEST) $(PARALLEL) $(wildcard tests/dags tests/operators) $(ARGS)

test-e2e: setup ## a real scheduler on an embedded stack of its own
	@$(PYTEST) $(wildcard tests/e2e) $(ARGS)

lint: setup ## ruff (style, layers, security), formatting, the Dockerfile, arrows between folders, types, the docs build
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/ruff format --check $(CODE)
	@$(BIN)/hadolint docker/Dockerfile
	@$(MAKE) arrows types docs

format: setup ## let ruff repair what it can
	@$(BIN)/ruff check --fix $(CODE)
	@$(BIN)/ruff format $(CODE)

arrows: setup ## import-linter: imports between folders point down only
	@PYTHONPATH=.:plugins $(BIN)/lint-imports --no-logo

types: setup ## mypy --strict
	@$(if $(TYPED),$(BIN)/mypy $(TYPED),true)

schema: setup ## the JSON schema of use-case specs, after their fields have changed
	@PYTHONPATH=. $(BIN)/python -c 'import json; from include.spec.loading import json_schema; print(json.dumps(json_schema(), indent=1, sort_keys=True))' > include/spec/use_case.schema.json.new
	@mv include/spec/use_case.schema.json.new include/spec/use_case.schema.json

##@ Document it
.PHONY: docs docs-serve screenshots
# the notice is about the theme's end of life in 2027 (docs/how-to/upgrade-libraries.md); it would be all that lint prints
MKDOCS := NO_MKDOCS_2_WARNING=1 PYTHONPATH=.:plugins $(BIN)/mkdocs
docs: setup ## the documentation site in site/, reference pages generated from the code; a broken link fails
	@$(MKDOCS) build --strict --quiet

docs-serve: setup ## the same at http://127.0.0.1:8000, rebuilt when a page changes
	@$(MKDOCS) serve

screenshots: setup ## make the README's pictures from the running stack, with Chromium
	@PYTHONPATH=. $(BIN)/python docs/screenshots.py

##@ Measure it
.PHONY: bench bench-clean bench-profile
bench: setup ## every benchmark beside its references; half an hour in full, minutes with ARGS="--scale small"
	@PYTHONPATH=.:plugins $(BIN)/python -m tests.benchmarks $(ARGS)

bench-profile: setup ## where the CPU time of a daily chain and of a backfill goes
	@PYTHONPATH=.:plugins $(BIN)/python -m tests.benchmarks.profile $(ARGS)

bench-clean: ## delete the benchmarks' generated data; results stay
	@[ ! -x $(BIN)/python ] || PYTHONPATH=. $(BIN)/python -m tests.benchmarks.stacks
	@rm -rf var/bench

bench-%: setup ## one of them: join audit transform publish materialize sweep score drift parse torch start chain backfill
	@PYTHONPATH=.:plugins $(BIN)/python -m tests.benchmarks $* $(ARGS)

##@ Set it up
.PHONY: setup lock compose-secrets clean purge help
setup: $(STAMP) ## the virtual environment with every pinned package

# Bytecode is compiled now, once: otherwise each
# of the many short processes would compile the same libraries again.
$(STAMP): requirements.txt
	@command -v $(PYTHON) >/dev/null && $(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' \
	  || { echo "Python 3.11 is needed and '$(PYTHON)' is not it; install python3.11 with its venv module, or: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV) \
	  || { rm -rf $(VENV); echo "the venv module is missing; install it (Debian, Ubuntu: python3.11-venv)" >&2; exit 1; }
	@$(BIN)/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@$(FIND_LINKS) $(BIN)/uv pip install --python $(BIN)/python --compile-bytecode -r requirements.txt
	@$(BIN)/python -c 'import ctypes; ctypes.CDLL("libgomp.so.1")' 2>/dev/null \
	  || echo "warning: libgomp.so.1 is missing and LightGBM needs it (Debian, Ubuntu: apt-get install libgomp1)" >&2
	@touch $@

lock: setup ## resolve requirements.in again into requirements.txt
	@# the old pin would be preferred, and with it the CUDA build of the same version
	@sed -i '/^torch==/d' requirements.txt
	@$(FIND_LINKS) UV_CUSTOM_COMPILE_COMMAND="make lock" \
	  $(BIN)/uv pip compile --quiet --python-version 3.11 requirements.in -o requirements.txt
	@sed -i 's/^\(torch==[0-9.]*\)+cpu/\1/' requirements.txt
	@! grep -q '^nvidia-cu' requirements.txt || echo "warning: no CPU build of torch was found, so the lock holds CUDA" >&2

compose-secrets: setup ## docker/.env with fresh secrets for docker/compose.yaml
	@PYTHONPATH=. $(BIN)/python -m include.stack.containers secrets docker/.env

clean: ## remove caches; keeps the environment and all state
	@rm -rf .pytest_cache .ruff_cache .mypy_cache .hypothesis .import_linter_cache site
	@find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

purge: ## stop everything and delete all state (lake, databases, models, secrets) after asking
	@home="$${LIFECYCLE_HOME:-var}"; home="$${home/#\~\//$$HOME/}"; \
	  if [ "$${YES:-}" != 1 ]; then read -rp "delete $$home, with the lake, models and databases? [y/N] " answer; [ "$$answer" = y ]; fi; \
	  $(MAKE) down; \
	  rm -rf "$$home"

help: ## this list
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9%-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
