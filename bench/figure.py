# SPDX-License-Identifier: GPL-2.0-or-later
"""One measured figure as one line: name, value, unit, goal, and whether the goal is met. Knows nothing of measuring."""

from __future__ import annotations


def report(name: str, value: float, unit: str, goal: float, *, at_most: bool = True) -> bool:
    """Print the line; returns whether the value is at most (or at least) the goal."""
    met = value <= goal if at_most else value >= goal
    print(f"{name}  {value:.3g} {unit}  goal {goal:g}  {'met' if met else 'missed'}", flush=True)
    return met


def show(name: str, value: float, unit: str) -> None:
    """Print the line of a figure that has no goal."""
    print(f"{name}  {value:.3g} {unit}", flush=True)
