# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs that the Makefile runs. None is installed."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036  # the system's Python may be older than that of the virtual environment
    found = "{}.{}".format(*sys.version_info)
    sys.exit(f"wgsd-nm needs Python 3.11 or later, and this is {found}: INTERPRETER= names another")
