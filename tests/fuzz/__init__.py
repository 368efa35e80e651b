# SPDX-License-Identifier: GPL-2.0-or-later
"""Hostile packets for the registry: `python -m tests.fuzz`."""
