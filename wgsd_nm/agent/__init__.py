# SPDX-License-Identifier: GPL-2.0-or-later
"""The unprivileged daemon of the user's session: hears, asks, decides, and has endpoints set by the helper."""
