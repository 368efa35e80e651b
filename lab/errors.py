# SPDX-License-Identifier: GPL-2.0-or-later
"""The one error that the lab reports to people: a sentence that says what to do next."""

from __future__ import annotations


class LabError(Exception):
    """The lab cannot do what was asked; the text is for the person at the terminal."""
