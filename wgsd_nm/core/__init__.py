# SPDX-License-Identifier: GPL-2.0-or-later
"""The pure part: values in, values out. It knows no I/O, no clock, no randomness, no D-Bus."""
