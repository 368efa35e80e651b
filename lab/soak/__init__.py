# SPDX-License-Identifier: GPL-2.0-or-later
"""Three laptops with agents to whom one thing after another happens, by chance, and what must hold after each."""
