# SPDX-License-Identifier: GPL-2.0-or-later
# make help: what there is.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
SUITE  ?= bookworm
EVENTS ?= 200
TIMED  := ./tools/timed

AGENTS := $(patsubst %,tests/lab/test_%.py,roaming soak)
LONG   := $(patsubst %,tests/lab/test_%.py,hard_nats interference portal frugality)

.PHONY: help setup needs lab check unit contract integration lab-test lab-agents lab-parts lab-systemd lab-long test demo soak \
	bench clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.ready  ## virtual environment with everything that the tests need

$(VENV)/.ready: pyproject.toml tools/needs
	@./tools/needs setup
	@echo "setup: virtual environment in $(VENV)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

needs: setup
	@./tools/needs lab

lab: setup needs  ## the virtual machine in which WireGuard, NATs and NetworkManager are real
	@$(BIN)/python -m lab build --suite $(SUITE)

check: setup unit contract  ## the quick loop: style, types, unit and contract tests
	@$(TIMED) "ruff" $(BIN)/ruff check
	@$(TIMED) "format" $(BIN)/ruff format --check --quiet
	@$(TIMED) "mypy" $(BIN)/mypy

unit: setup
	@$(TIMED) "unit tests" $(BIN)/python -m pytest -q --numprocesses=auto tests/unit

contract: setup
	@./tools/needs contract
	@$(TIMED) "contract tests" $(BIN)/python -m pytest -q tests/contract

integration: setup  ## real processes on private buses
	@./tools/needs integration
	@$(TIMED) "integration tests" $(BIN)/python -m pytest -q tests/integration

lab-test: lab  ## the scenarios, on a real kernel
	@echo "lab: three machines with scenarios, two at a time; each tells what it found when it is done, some 30 minutes in all"
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target lab-agents lab-parts lab-systemd

lab-agents:
	@$(TIMED) "lab scenarios of agents" $(BIN)/python -m lab run --suite $(SUITE) --timeout 3300 -- \
		python3 -m pytest -q -p no:cacheprovider --durations=15 $(AGENTS)

lab-parts:
	@$(TIMED) "lab scenarios of parts" $(BIN)/python -m lab run --suite $(SUITE) --wgsd --timeout 3300 -- \
		python3 -m pytest -q -p no:cacheprovider --durations=15 tests/lab $(AGENTS:%=--ignore=%) $(LONG:%=--ignore=%)

lab-long: lab  ## more scenarios of agents, which "make test" leaves out for the time that they take
	@$(TIMED) "long lab scenarios" $(BIN)/python -m lab run --suite $(SUITE) --timeout 5400 -- \
		python3 -m pytest -q -p no:cacheprovider --durations=15 $(LONG)

lab-systemd:
	@$(TIMED) "lab scenarios under systemd" $(BIN)/python -m lab run --suite $(SUITE) --systemd --timeout 1800 -- \
		python3 -m pytest -q -p no:cacheprovider --durations=5 tests/lab/systemd

test: check integration lab-test  ## everything
	@$(TIMED) "demo" $(BIN)/python -m lab demo --suite $(SUITE)
	@echo "everything passed"

demo: lab  ## the seed scenario, end to end, told step by step
	@$(BIN)/python -m lab demo --suite $(SUITE)

soak: lab  ## two hundred random events over three laptops; EVENTS= for more, SEED= for the same again
	@$(TIMED) "soak" $(BIN)/python -m lab run --suite $(SUITE) --timeout 14400 -- \
		python3 -m lab.soak $(if $(SEED),--seed $(SEED)) --events $(EVENTS)

bench: lab  ## every figure that the README claims
	@./tools/needs integration
	@./tools/needs bench
	@$(BIN)/python -m bench

clean:  ## remove what was made inside the tree
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
