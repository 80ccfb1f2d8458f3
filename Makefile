# Every target sets up what it needs: on a fresh machine start with `make run` or `make test`.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PORT ?= 8080
PYTEST_ARGS ?=
BENCH_ARGS ?=
GEMMA := .cache/models/gemma-3-270m-q4_k_m.gguf
PYTEST := .venv/bin/python -m pytest

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: install
install: ## Make .venv with all that `paddock` needs, pinned by hash (PYTHON= picks the interpreter)
	@scripts/install run

.PHONY: install-dev
install-dev: ## The same with the tools for tests and lint
	@scripts/install dev

.PHONY: gemma
gemma: install
	@.venv/bin/python scripts/gemma.py $(GEMMA)

.PHONY: run
run: gemma ## Serve examples/models on 127.0.0.1:8080 (PORT= overrides); Ctrl-C ends it
	@exec .venv/bin/paddock serve examples/models --host 127.0.0.1 --port $(PORT)

# What tests need of Kubernetes without a node: an API server with its controllers, and the tools to speak with it.
API_SERVER := etcd kube-apiserver kubectl kube-controller-manager helm

.PHONY: api-server
api-server:
	@tests/cluster/cluster build $(API_SERVER) >/dev/null

.PHONY: test
test: install-dev api-server ## Unit tests, then integration tests with a real engine (PYTEST_ARGS= adds options)
	@scripts/test $(PYTEST_ARGS)

.PHONY: test-unit
test-unit: install-dev api-server ## Only the fast tests
	@$(PYTEST) tests/unit $(PYTEST_ARGS)

.PHONY: test-nightly
test-nightly: install-dev api-server ## The tests that a change should not wait for
	@$(PYTEST) tests/integration -m nightly $(PYTEST_ARGS)

.PHONY: e2e
e2e: install-dev ## Tests on a real Kubernetes: KUBECONFIG's, kind's, or one made here as root (E2E_KEEP=1 leaves it)
	@$(PYTEST) tests/e2e $(PYTEST_ARGS)

# What e2e has to compile and to build, when nothing is there: programs of the cluster, images.
.PHONY: e2e-ground
e2e-ground: install-dev api-server
	@PYTHONPATH=scripts .venv/bin/python -m tests.e2e.ground

.PHONY: cluster
cluster: ## Start a one-node Kubernetes of plain processes, as root; prints its kubeconfig's path
	@tests/cluster/cluster up

.PHONY: cluster-down
cluster-down: ## Stop it and remove every trace
	@tests/cluster/cluster down

.PHONY: images
images: ## Build the images as they are published, without Docker (llama.cpp for every processor: 10 minutes once)
	@tests/cluster/cluster images

.PHONY: lint
lint: install-dev ## ruff, mypy --strict, import contracts, drift of generated files
	@failed=""; \
	.venv/bin/ruff check . || failed+=" ruff"; \
	.venv/bin/mypy || failed+=" mypy"; \
	.venv/bin/lint-imports --no-logo || failed+=" lint-imports"; \
	.venv/bin/python crds/generate.py --check || failed+=" crds"; \
	if [[ -n "$$failed" ]]; then echo "lint failed:$$failed" >&2; exit 1; fi

.PHONY: crds
crds: install-dev ## Write crds/ and docs/reference/ from the types of paddock_api
	@.venv/bin/python crds/generate.py

.PHONY: lock
lock: install-dev ## Write requirements/*.txt anew after a change of dependencies (UPGRADE=1: newest versions)
	@scripts/lock

.PHONY: bench
bench: install-dev gemma ## Compare with llama-server, as JSON (builds it on first use; BENCH_ARGS= adds options)
	@.venv/bin/python -m bench $(BENCH_ARGS)

.PHONY: bench-operator
bench-operator: install-dev api-server ## What 125, 250 and 500 Models at once cost the operator, as JSON (BENCH_ARGS= too)
	@.venv/bin/python -m bench.operator $(BENCH_ARGS)

.PHONY: clean
clean: ## Remove what was made here (.venv, .cache); the wheel and test models in ~/.cache/paddock stay
	@rm -rf .venv .cache .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage .coverage.*
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
