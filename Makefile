# SPDX-License-Identifier: GPL-2.0-or-later
# make help: what there is.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
SUITE  ?= bookworm
EVENTS ?= 200
TIMED  := ./tools/timed

# Scenarios by the machine that they share, in this order. What stands in LONG takes an hour, and "make test" leaves it out.
PARTS  := helper lookup networkmanager registry wgsd wireguard world poke clock
MOVES  := roaming
WAYS   := registry_name full_tunnel
LONG   := dual_stack doctor interference frugality portal hard_nats soak
UNITS  := lookup_units registry_units units
LONG_UNITS := seat suspend
SCENARIOS = $(BIN)/python -m lab run --suite $(SUITE) $(1) -- python3 -m pytest -q -p no:cacheprovider --durations=10 \
	$(patsubst %,tests/lab/$(2)test_%.py,$(3))

.PHONY: help setup needs lab check unit contract integration lab-test lab-long test demo soak bench clean

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
	@$(TIMED) "lab: the parts" $(call SCENARIOS,--wgsd --timeout 1500,,$(PARTS))
	@$(TIMED) "lab: laptops that move" $(call SCENARIOS,--timeout 1500,,$(MOVES))
	@$(TIMED) "lab: ways to the registry" $(call SCENARIOS,--timeout 1500,,$(WAYS))
	@$(TIMED) "lab: under systemd" $(call SCENARIOS,--systemd --timeout 1200,systemd/,$(UNITS))

lab-long: lab  ## the scenarios that "make test" leaves out for their length
	@$(TIMED) "lab: long scenarios" $(call SCENARIOS,--timeout 5400,,$(LONG))
	@$(TIMED) "lab: long scenarios under systemd" $(call SCENARIOS,--systemd --timeout 1800,systemd/,$(LONG_UNITS))

test: check integration lab-test  ## everything but lab-long, soak and bench
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
