# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line for people: a client of the agent's D-Bus interface, and the one-shot lookup."""
