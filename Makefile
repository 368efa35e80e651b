# SPDX-License-Identifier: GPL-2.0-or-later
# make help: what there is.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
SUITE  ?= bookworm
EVENTS ?= 200
TIMED  := ./tools/timed
TREES  := bookworm trixie sid

# /usr/local or /usr: D-Bus and systemd search no other. DESTDIR stands in for the root of the file system.
PREFIX      ?= /usr/local
DESTDIR     ?=
# What runs the installed programs.
INTERPRETER ?= /usr/bin/python3

# Scenarios by the machine that they share, in this order; three machines run at a time, those that take longest begin.
MACHINES  := others installed-bookworm parts nats installed-trixie moves systemd portal ways soak
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

.PHONY: help setup needs caches image lab check unit search contract integration pythons extension-test lab-test test demo \
	demo-desktop soak bench man extension install uninstall deb clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.ready  ## virtual environment with everything that the tests need

$(VENV)/.ready: pyproject.toml tools/needs
	@./tools/needs setup
	@echo "setup: virtual environment in $(VENV)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

needs: setup
	@./tools/needs lab

caches: setup needs  ## the image of the lab and the Debian trees, two at a time
	@./tools/needs pythons
	@$(TIMED) "images and trees" $(MAKE) --no-print-directory --jobs=2 image $(TREES:%=tree-%)

image:
	@$(BIN)/python -m lab build --suite $(SUITE) --systemd

tree-%:
	@$(BIN)/python -m lab.trees $*

lab: setup needs  ## the virtual machine in which WireGuard, NATs and NetworkManager are real
	@$(BIN)/python -m lab build --suite $(SUITE)

check: setup unit contract  ## the quick loop: style, types, unit and contract tests
	@$(TIMED) "ruff" $(BIN)/ruff check
	@$(TIMED) "format" $(BIN)/ruff format --check --quiet
	@$(TIMED) "mypy" $(BIN)/mypy

unit: setup  ## the unit tests alone
	@$(TIMED) "unit tests" $(BIN)/python -m pytest -q --numprocesses=auto tests/unit

search: setup  ## properties of the units with examples by chance, again and again until one does not hold
	@while $(BIN)/python -m pytest -q -m hypothesis --hypothesis-profile=searching --numprocesses=auto tests/unit; do :; done

contract: setup  ## what compares documents, interfaces, units and policies with the code
	@./tools/needs contract
	@$(TIMED) "contract tests" $(BIN)/python -m pytest -q tests/contract

integration: setup  ## real processes on private buses
	@./tools/needs integration
	@$(TIMED) "integration tests" $(BIN)/python -m pytest -q --numprocesses=auto tests/integration

pythons: setup  ## tests with the supported versions of Python that the virtual environment does not have
	@./tools/needs pythons
	@$(TIMED) "other versions of Python" $(BIN)/python -m tools.pythons

extension-test: setup  ## the extension in real GNOME Shells, 43 and 48; pictures of it in build/screenshots
	@./tools/needs extension-test
	@$(BIN)/python -m lab.trees bookworm trixie
	@$(TIMED) "GNOME Shells" $(BIN)/python -m pytest -q --numprocesses=2 --dist=loadscope tests/shell

lab-test: lab  ## the scenarios, on a real kernel
	@echo "lab: three machines at a time, for three quarters of an hour; each tells its results when it has done"
	@$(MAKE) --no-print-directory --keep-going --jobs=3 --output-sync=target $(MACHINES:%=machine-%)

machine-%: lab
	@$(TIMED) "lab: $*" $(BIN)/python -m lab run --suite $(SUITE) --timeout 2400 $(with_$*) -- \
		python3 -m pytest -q -p no:cacheprovider --durations=10 $(foreach each,$(scenarios_$*),$(call test_file,$(each)))

machine-installed-%: lab
	@$(TIMED) "lab: installed on $*" $(BIN)/python -m lab installed --suite $*

test: check integration caches pythons extension-test lab-test  ## everything but soak and bench
	@$(TIMED) "demo" $(BIN)/python -m lab demo --suite $(SUITE)
	@echo "everything passed"

demo: lab  ## two laptops find each other, and one moves, told step by step
	@$(BIN)/python -m lab demo --suite $(SUITE)

demo-desktop: setup  ## what GNOME shows: in a window to try it, or without a display in pictures
	@./tools/needs extension-test
	@$(BIN)/python -m tests.shell.show

soak: lab  ## two hundred random events over three laptops; EVENTS= for more, SEED= for the same again
	@$(TIMED) "soak" $(BIN)/python -m lab run --suite $(SUITE) --timeout 14400 -- \
		python3 -m lab.soak $(if $(SEED),--seed $(SEED)) --events $(EVENTS)

bench: lab  ## every figure that the README claims
	@./tools/needs integration
	@./tools/needs bench
	@$(BIN)/python -m bench

extension:  ## the GNOME Shell extension as zip files, in build/
	@./tools/needs extension
	@$(INTERPRETER) -B -m tools.extension

man: setup  ## write the manual pages of the interfaces and the completions of shells anew
	@$(BIN)/python -m tools.manual
	@$(BIN)/python -m tools.completions

install:  ## all of it into PREFIX, /usr/local or /usr, below DESTDIR; as root where that is empty
	@./tools/needs install
	@$(INTERPRETER) -B -m tools.install install --prefix '$(PREFIX)' --destdir '$(DESTDIR)' --interpreter '$(INTERPRETER)' \
		--environment $(VENV)

uninstall:  ## take away what `make install` put there
	@$(INTERPRETER) -B -m tools.install uninstall --prefix '$(PREFIX)' --destdir '$(DESTDIR)'

deb:  ## a package for Debian 12 and 13, in dist/
	@./tools/needs deb
	@$(INTERPRETER) -B -m tools.deb --environment $(VENV)

clean:  ## remove what was made inside the tree
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
