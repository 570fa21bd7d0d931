# Two commands matter: `make demo` shows it, `make test` proves it. Both set up what they need.

SHELL := /bin/bash
.DEFAULT_GOAL := help
BIN := .venv/bin
# Loading programs into the kernel takes root; everything else runs as you.
# root's own HOME, so that nothing of root's is left in your caches.
KEEP := GOFLAGS,GOPROXY,GOTOOLCHAIN,OTEL_EXPORTER_OTLP_ENDPOINT,OTEL_EXPORTER_OTLP_PROTOCOL
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo --preserve-env=$(KEEP) env PATH="$$PATH")
WITH_GO = PATH="$$(scripts/go-toolchain):$$PATH" GOTOOLCHAIN="$${GOTOOLCHAIN:-auto}"

.PHONY: help setup demo test lint unit kernel e2e fuzz bench accuracy collector wheel clean

help: ## list the targets
	@sed -nE 's/^([a-z0-9]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

setup: ## set up .venv; .venv/bin/otel-ebpf is the command
	@scripts/setup

demo: setup ## trace three uninstrumented services and show their traces
	@$(WITH_GO) && export PATH GOTOOLCHAIN && $(AS_ROOT) examples/demo/run

test: test-setup lint collector-built ## lint, types, import contracts, then every test
	@$(WITH_GO) && export PATH GOTOOLCHAIN && $(BIN)/pytest

lint: setup ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

unit: test-setup ## the tests that need no root
	$(BIN)/pytest -m "not kernel and not e2e"

kernel: test-setup ## the tests that load programs into this kernel
	@$(WITH_GO) && export PATH GOTOOLCHAIN && $(BIN)/pytest -m kernel

e2e: test-setup collector-built ## the tests with real services and a real Collector
	@$(WITH_GO) && export PATH GOTOOLCHAIN && $(BIN)/pytest -m e2e

fuzz: test-setup ## change recorded bytes until a parser breaks, one minute each
	@$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev,fuzz]'
	@tests/fuzz/run

bench: test-setup ## measure overhead: untraced and traced, interleaved; and the parsers
	@$(WITH_GO) && export PATH GOTOOLCHAIN && $(AS_ROOT) tests/benchmarks/run
	@$(BIN)/python -m tests.benchmarks.parsers

accuracy: setup ## measure precision and recall of parent links
	@$(WITH_GO) && export PATH GOTOOLCHAIN && $(AS_ROOT) tests/accuracy/run

collector: ## build (once) the Collector of the tests and print its path
	@scripts/build-collector

wheel: setup ## build a wheel into dist/
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir dist .

clean: ## remove what was built here, except .venv
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

.PHONY: test-setup collector-built
test-setup:
	@scripts/setup --tests

# Before pytest, whose time limit on each test would count the build.
collector-built:
	@scripts/build-collector >/dev/null
