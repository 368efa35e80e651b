# SPDX-License-Identifier: GPL-2.0-or-later
"""Which signals a subscriber wants (D-Bus Specification, "Match Rules"). It knows nothing of connections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from wgsd_nm.bus import names


@dataclass(frozen=True, slots=True)
class Match:
    """The signals of one member of one interface of one sender, perhaps narrowed down further."""

    sender: str
    interface: str
    member: str
    path: str | None = None
    arg0: str | None = None
    arg0path: str | None = None

    @property
    def rule(self) -> str:
        """For AddMatch."""
        keys = {
            "sender": self.sender,
            "interface": self.interface,
            "member": self.member,
            "path": self.path,
            "arg0": self.arg0,
            "arg0path": self.arg0path,
        }
        return ",".join(
            ("type='signal'", *(f"{key}={_quoted(text)}" for key, text in keys.items() if text is not None))
        )

    def fits(self, path: str, body: Sequence[Any]) -> bool:
        """Whether path and arguments are wanted. The bus does not see to that: a signal sent to us alone, or wanted by
        another rule of ours, comes as well."""
        first = body[0] if body and isinstance(body[0], str) else None
        return (
            (self.path is None or self.path == path)
            and (self.arg0 is None or self.arg0 == first)
            and (self.arg0path is None or (first is not None and _related(self.arg0path, first)))
        )


def owner_changes(name: str) -> Match:
    """The bus' announcements of another owner of that name."""
    return Match(sender=names.DBUS, interface=names.DBUS, member="NameOwnerChanged", arg0=name)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _related(rule: str, path: str) -> bool:
    """arg0path: the same, or one ends with a slash and is the beginning of the other."""
    return (
        rule == path or (rule.endswith("/") and path.startswith(rule)) or (path.endswith("/") and rule.startswith(path))
    )
