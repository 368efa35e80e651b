# SPDX-License-Identifier: GPL-2.0-or-later
"""Who is told which owner, and whose signals count."""

from __future__ import annotations

from collections.abc import Callable

from wgsd_nm.bus.owners import Owners


class Told:
    """Owners whose watchers only note what they are told."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.owners = Owners(lambda watcher, owner: watcher(owner))

    def watch(self, name: str) -> Callable[[str], None]:
        watcher = self.log.append
        self.owners.watch(name, watcher)
        return watcher


def test_each_change_is_told_once() -> None:
    told = Told()
    told.watch("a.B")
    told.owners.follow("a.B")
    assert told.log == []
    for owner in (":1.1", ":1.1", "", "", ":1.2"):
        told.owners.learn("a.B", owner)
    told.owners.learn("a.C", ":1.3")
    assert told.log == [":1.1", "", ":1.2"]
    assert list(told.owners) == ["a.B"]


def test_a_late_watcher_is_told_what_is_known() -> None:
    told = Told()
    told.owners.follow("a.B")
    told.owners.follow("a.C")
    told.owners.learn("a.B", ":1.1")
    told.owners.learn("a.C", "")
    told.watch("a.B")
    told.watch("a.C")
    assert told.log == [":1.1", ""]


def test_the_loss_of_the_bus_is_the_loss_of_every_owner() -> None:
    told = Told()
    for name in ("a.B", "a.C", "a.D"):
        told.owners.follow(name)
        told.watch(name)
    told.owners.learn("a.B", ":1.1")
    told.owners.learn("a.C", "")
    told.log.clear()
    told.owners.lose()
    assert told.log == [""]
    told.owners.learn("a.B", ":1.1")
    told.owners.learn("a.C", "")
    assert told.log == ["", ":1.1", ""]


def test_no_more() -> None:
    told = Told()
    watcher = told.watch("a.B")
    told.owners.follow("a.B")
    told.owners.unwatch("a.B", watcher)
    told.owners.learn("a.B", ":1.1")
    assert told.log == []
    told.owners.leave("a.B")
    assert "a.B" not in told.owners


def test_whose_signals_count() -> None:
    owners = Told().owners
    owners.follow("a.B")
    assert not owners.sends_as(":1.1", "a.B")
    owners.learn("a.B", ":1.1")
    assert owners.sends_as(":1.1", "a.B")
    assert not owners.sends_as(":1.2", "a.B")
    owners.learn("a.B", "")
    assert not owners.sends_as(":1.1", "a.B")
    assert not owners.sends_as("", "a.B")
    assert owners.sends_as(":1.7", ":1.7")
    assert not owners.sends_as(":1.8", ":1.7")
