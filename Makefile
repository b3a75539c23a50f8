# `make` alone lists the targets. Everything a target needs is made or installed by it.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
OPERATOR := $(BIN)/incident-operator
PYTEST := $(BIN)/pytest
SCENARIO ?= restore

.DEFAULT_GOAL := help
.PHONY: help demo demo-outage demo-alert demo-down test test-fast test-nightly bench lint format verify generate lab-up lab-down image clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

$(VENV)/.ready: pyproject.toml uv.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "make: $(PYTHON) is older than Python 3.11; name a newer one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "making the virtual environment $(VENV) (once; about 30 s)"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || { \
	  echo "make: $(PYTHON) -m venv failed; on Debian or Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9'
	@UV_PROJECT_ENVIRONMENT=$(VENV) $(BIN)/uv sync --frozen --inexact --quiet
	@touch $@

demo: $(VENV)/.ready ## A bad deploy and a compromised pod on a real Kubernetes, handled before your eyes
	@$(OPERATOR) demo up

demo-outage: $(VENV)/.ready ## An application with a real PostgreSQL brought back tier by tier (SCENARIO=failover, corruption, ...)
	@$(OPERATOR) demo outage --scenario $(SCENARIO)

demo-alert: $(VENV)/.ready ## A bad deploy put right with no human hand: a real Prometheus, a real Alertmanager, an Incident
	@$(OPERATOR) demo alert

demo-down: $(VENV)/.ready ## Take the demo away
	@$(OPERATOR) demo down

test: $(VENV)/.ready ## All tests but the nightly ones, against a real API server and, with root, real pods
	@$(BIN)/python tests/tests_support/side_by_side.py -m "not slow"

test-fast: $(VENV)/.ready ## Only what needs no cluster
	@$(PYTEST) -m "not slow and not cluster and not pods and not enforced" tests/unit tests/http tests/golden tests/contract

test-nightly: $(VENV)/.ready ## Everything
	@$(BIN)/python tests/tests_support/side_by_side.py

bench: $(VENV)/.ready ## How fast: this operator, a bare client, a kopf handler and a script side by side
	@$(BIN)/python tests/bench/__main__.py $(BENCH)

lint: $(VENV)/.ready ## Style, types, and which room may import which
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

format: $(VENV)/.ready ## Format the code
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

generate: $(VENV)/.ready ## Write CRDs, RBAC, install manifest and doc tables from their sources
	@$(BIN)/python -m incident_operator.cli.generate

verify: $(VENV)/.ready ## Fail if a generated file differs from its source
	@$(BIN)/python -m incident_operator.cli.generate --check
	@$(BIN)/uv lock --check --quiet

lab-up: $(VENV)/.ready ## A Kubernetes of your own
	@$(OPERATOR) lab up

lab-down: $(VENV)/.ready ## Take it away
	@$(OPERATOR) lab down

image: $(VENV)/.ready ## The operator's image, as build/incident-operator.tar
	@$(OPERATOR) lab image --out build/incident-operator.tar

clean: ## Remove what was built here; caches and labs stay
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
