# SPDX-License-Identifier: GPL-2.0-or-later
"""Every figure that the README claims, as a command that anyone can run: python3 -m bench runs them all."""
