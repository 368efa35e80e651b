# SPDX-License-Identifier: GPL-2.0-or-later
"""Who owns which bus name, as far as we follow it. It knows nothing of how the bus says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator

Watcher = Callable[[str], None]


class Owners:
    """The followed names and their owners' unique names. `tell(watcher, owner)` is called for each watcher to be told.

    An owner is "" for nobody, and None while the bus has not answered yet.
    """

    def __init__(self, tell: Callable[[Watcher, str], None]) -> None:
        self._tell = tell
        self._owners: dict[str, str | None] = {}
        self._watchers: dict[str, list[Watcher]] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._owners)

    def __contains__(self, name: str) -> bool:
        return name in self._owners

    def follow(self, name: str) -> None:
        """From now on."""
        self._owners.setdefault(name, None)

    def leave(self, name: str) -> None:
        """No more."""
        del self._owners[name]

    def watch(self, name: str, watcher: Watcher) -> None:
        """Tells the watcher now, if the owner is known, and whenever it is another."""
        self._watchers.setdefault(name, []).append(watcher)
        owner = self._owners.get(name)
        if owner is not None:
            self._tell(watcher, owner)

    def unwatch(self, name: str, watcher: Watcher) -> None:
        self._watchers[name].remove(watcher)

    def sends_as(self, sender: str, name: str) -> bool:
        """Whether a message of the unique name `sender` comes from the owner of `name`, or from `name` itself."""
        return sender == (self._owners.get(name) or name)

    def learn(self, name: str, owner: str) -> None:
        """What the bus says; of a name that is not followed it is forgotten."""
        if name in self._owners and self._owners[name] != owner:
            self._owners[name] = owner
            for watcher in self._watchers.get(name, ()):
                self._tell(watcher, owner)

    def lose(self) -> None:
        """The connection is gone: whoever had an owner has none, and everything is to be asked anew."""
        for name, owner in self._owners.items():
            self._owners[name] = None
            if owner:
                for watcher in self._watchers.get(name, ()):
                    self._tell(watcher, "")
