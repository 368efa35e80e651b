# SPDX-License-Identifier: GPL-2.0-or-later
"""The package on a machine that is switched off and on again: `python3 -m lab installed`, which has the order."""
