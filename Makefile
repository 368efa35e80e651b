# SPDX-License-Identifier: GPL-2.0-or-later
# make help: what there is.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
SUITE  ?= bookworm
EVENTS ?= 200
TIMED  := ./tools/timed

# Scenarios by the machine that they share, in this order; two machines run at a time, those that take longest begin.
MACHINES  := soak parts others nats systemd ways moves portal
scenarios_soak    := soak
scenarios_parts   := helper lookup networkmanager registry wgsd wireguard world poke clock
scenarios_others  := interference frugality
scenarios_nats    := hard_nats dual_stack
scenarios_systemd := systemd/lookup_units systemd/registry_units systemd/units systemd/seat systemd/suspend
scenarios_ways    := registry_name full_tunnel
scenarios_moves   := roaming
scenarios_portal  := portal doctor push
with_parts   := --wgsd
with_systemd := --systemd
test_file = $(subst ./,,tests/lab/$(dir $(1))test_$(notdir $(1)).py)

.PHONY: help setup needs lab check unit contract integration lab-test test demo soak bench clean

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
	@$(TIMED) "integration tests" $(BIN)/python -m pytest -q --numprocesses=auto tests/integration

lab-test: lab  ## the scenarios, on a real kernel
	@echo "lab: two machines at a time, for three quarters of an hour; each tells its results when it has done"
	@$(MAKE) --no-print-directory --keep-going --jobs=2 --output-sync=target $(MACHINES:%=machine-%)

machine-%: lab
	@$(TIMED) "lab: $*" $(BIN)/python -m lab run --suite $(SUITE) --timeout 2400 $(with_$*) -- \
		python3 -m pytest -q -p no:cacheprovider --durations=10 $(foreach each,$(scenarios_$*),$(call test_file,$(each)))

test: check integration lab-test  ## everything but soak and bench
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
