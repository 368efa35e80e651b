# SPDX-License-Identifier: GPL-2.0-or-later
"""The wall around D-Bus: names, values on the wire, and connections. Nothing else imports a D-Bus library."""
