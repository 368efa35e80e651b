# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests; a package, so that files of one name may stand in several folders."""
