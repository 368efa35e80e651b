# SPDX-License-Identifier: GPL-2.0-or-later
"""The end-to-end lab: a Debian machine in QEMU that starts in a second, and in it a small internet with laptops."""
