# SPDX-License-Identifier: GPL-2.0-or-later
"""What the soak concludes from what it has recorded. The soak itself runs in the lab."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from lab.soak.company import Company
from lab.soak.events import Events
from lab.soak.invariants import Invariants, Needs, needs, was_alive
from lab.soak.recording import Order, Orders, Reading, Readings, Tail
from lab.world.laptop import Laptop
from lab.world.wireguard import Peer
from tests.lab import test_soak

KEY = "peer's key"
HERE, THERE = "192.0.2.1:51820", "198.51.100.1:51820"
NOW = 1_800_000_000.0


def reading(at: float, rx: int, endpoint: str = HERE, handshake: float = NOW - 30) -> Reading:
    return Reading(at, {KEY: Peer(KEY, endpoint, (), int(handshake), rx, 0, 25)})


def talking(**changes: Any) -> list[Reading]:
    """Twice a second, and something has come each time."""
    return [reading(NOW - 5 + index / 2, 100 * index, **changes) for index in range(11)]


class TestWasAlive:
    ORDER = Order(NOW, KEY, HERE, THERE)

    def test_packets_came_from_there_to_the_last(self) -> None:
        assert was_alive(self.ORDER, talking(), NOW - 60)

    @pytest.mark.parametrize(
        "readings",
        [
            pytest.param([], id="no reading"),
            pytest.param([reading(each.at, 100) for each in talking()], id="nothing came"),
            pytest.param([reading(each.at, 200 if each.at > NOW - 1 else 100) for each in talking()], id="one packet"),
            pytest.param(talking(endpoint=THERE), id="another endpoint"),
            pytest.param([*talking()[:-1], reading(NOW, 9999, THERE)], id="roamed meanwhile"),
            pytest.param(talking(handshake=0), id="no handshake"),
            pytest.param(talking(handshake=NOW - 200), id="an old session"),
            pytest.param([each for each in talking() if each.at < NOW - 2], id="silent of late"),
        ],
    )
    def test_it_was_not(self, readings: list[Reading]) -> None:
        assert not was_alive(self.ORDER, readings, NOW - 60)

    @pytest.mark.parametrize(("since", "alive"), [(NOW - 3, True), (NOW - 1.2, False), (NOW, False)])
    def test_what_came_before_an_event_proves_nothing(self, since: float, alive: bool) -> None:
        assert was_alive(self.ORDER, talking(), since) is alive


class Silent:
    """A laptop on which nothing is started; its logs are written by the test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def log(self, name: str) -> Path:
        path = self._folder / name
        path.touch()
        return path

    def spawn(self, *_: Any, **__: Any) -> None:
        pass


@pytest.fixture
def silent(tmp_path: Path) -> Silent:
    return Silent(tmp_path)


class TestRecording:
    def test_a_tail_gives_whole_lines_once(self, tmp_path: Path) -> None:
        log = tmp_path / "log"
        log.write_text("before\n")
        tail = Tail(log)
        said = []
        for text in ("one\ntw", "o\n", ""):
            with log.open("a") as end:
                end.write(text)
            said.append(tail.read())
        assert said == ["one\n", "two\n", ""]

    def test_readings(self, silent: Silent) -> None:
        readings = Readings(cast(Laptop, silent))
        line = f"{KEY}\t(none)\t{HERE}\t10.0.0.2/32\t{NOW:.0f}\t%d\t6\t25\n"
        text = "".join(f"@ {NOW + at}\nkey\tkey\t51820\toff\n{line % at}" for at in (0, 1, 70, 71))
        seen = []
        for part in (text[:100], text[100:300], text[300:]):
            with silent.log("readings").open("a") as log:
                log.write(part)
            seen.append([each.at - NOW for each in readings.update()])
        assert seen[-1] == [70], "older ones are forgotten, and the last may still be written"
        assert readings.all[0].peers[KEY].rx_bytes == 70

    def test_a_device_that_is_not_there(self, silent: Silent) -> None:
        readings = Readings(cast(Laptop, silent))
        silent.log("readings").write_text(f"@ {NOW}\n@ {NOW + 1}\n")
        assert readings.update() == [Reading(NOW, {})]

    def test_orders(self, silent: Silent) -> None:
        orders = Orders(cast(Laptop, silent))
        changes = f'[["{KEY}","{HERE}","{THERE}"],["b","{HERE}",""],["c","{HERE}","{HERE}"],["d","","{HERE}"]]'
        silent.log("orders").write_text(
            "Monitoring bus message stream.\n"
            f'{{"timestamp-realtime":{NOW * 1e6:.0f},"payload":{{"type":"sa(sss)","data":["wg0",{changes}]}}}}\n'
        )
        assert list(orders.update()) == [Order(NOW, KEY, HERE, THERE), Order(NOW, "d", "", HERE)]
        assert list(orders.update()) == []


def test_what_a_process_needs() -> None:
    mine = needs(os.getpid())
    assert mine.memory > 1000
    assert mine.files >= 3
    assert mine.threads >= 1


class Watched(Silent):
    """A laptop with an agent that sleeps, and a peer that talks."""

    def __init__(self, folder: Path, agent: subprocess.Popen[bytes]) -> None:
        super().__init__(folder)
        self.processes = {"agent": agent}
        self.keepalive = 25

    def peers(self) -> dict[str, Peer]:
        return {KEY: Peer(KEY, HERE, (), 0, 0, 0, self.keepalive)}


@pytest.fixture
def agent() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


class TestInvariants:
    @pytest.fixture
    def laptop(self, tmp_path: Path, agent: subprocess.Popen[bytes]) -> Watched:
        return Watched(tmp_path, agent)

    @pytest.fixture
    def orders(self) -> list[Order]:
        return []

    @pytest.fixture
    def invariants(self, laptop: Watched, orders: list[Order]) -> Invariants:
        """Alice and bob; alice's agent gives the orders, and bob's key is KEY."""
        made = SimpleNamespace(
            laptops={"alice": laptop, "bob": laptop}, touched={"alice": 0.0, "bob": NOW - 60},
            key=lambda name: KEY if name == "bob" else "own key",
            orders={"alice": SimpleNamespace(update=lambda: orders), "bob": SimpleNamespace(update=list)},
            readings=dict.fromkeys(("alice", "bob"), SimpleNamespace(update=talking)),
        )  # fmt: skip
        return Invariants(cast(Company, made))

    def test_all_is_well(self, invariants: Invariants, orders: list[Order]) -> None:
        orders += [Order(NOW, KEY, THERE, HERE), Order(NOW - 120, KEY, HERE, THERE)]
        assert list(invariants.violations()) == []

    def test_a_path_that_works_is_replaced(self, invariants: Invariants, orders: list[Order]) -> None:
        orders.append(Order(NOW, KEY, HERE, THERE))
        (violation,) = invariants.violations()
        assert f"alice's agent replaces bob's endpoint {HERE} by {THERE}" in violation

    def test_a_peer_that_is_nobodys_business(self, invariants: Invariants, orders: list[Order]) -> None:
        orders.append(Order(NOW, "the registry's key", HERE, THERE))
        (violation,) = invariants.violations()
        assert "no registry has" in violation

    def test_another_keepalive(self, invariants: Invariants, laptop: Watched) -> None:
        laptop.keepalive = 1
        assert any("keepalive 1" in violation for violation in invariants.violations())

    def test_an_agent_that_has_ended(self, invariants: Invariants, agent: subprocess.Popen[bytes]) -> None:
        agent.kill()
        agent.wait()
        assert any("has ended" in violation for violation in invariants.violations())

    @pytest.mark.parametrize("grown", ["memory", "files", "threads"])
    def test_an_agent_that_grows(self, invariants: Invariants, grown: str, monkeypatch: pytest.MonkeyPatch) -> None:
        assert list(invariants.violations()) == []
        more = {"memory": Needs(1_000_000, 3, 1), "files": Needs(1, 300, 1), "threads": Needs(1, 3, 30)}[grown]
        monkeypatch.setattr("lab.soak.invariants.needs", lambda _: more)
        assert list(invariants.violations())

    def test_an_agent_that_complains(self, invariants: Invariants, laptop: Watched) -> None:
        laptop.log("agent").write_text("1.0 DEBUG: heard\nTraceback (most recent call last):\n")
        assert any("Traceback" in violation for violation in invariants.violations())


def company() -> Company:
    """As much of a company as dealing events needs; nothing happens to it."""
    nats = tuple(SimpleNamespace(name=name) for name in ("natA", "natB", "natC"))
    laptops = {name: SimpleNamespace(nat=nat) for name, nat in zip(("alice", "bob", "carol"), nats, strict=True)}
    made = SimpleNamespace(
        world=SimpleNamespace(nats=nats), laptops=laptops, is_served=True, impaired={}, captive=set(),
        stop_serving=None, serve=None, behind=lambda nat: [name for name in laptops if laptops[name].nat is nat],
    )  # fmt: skip
    return cast(Company, made)


def texts(seed: int, count: int = 60) -> Iterator[str]:
    return (event.text for event in islice(Events(company(), seed), count))


class TestEvents:
    def test_the_same_seed_gives_the_same_events(self) -> None:
        assert list(texts(7)) == list(texts(7))
        assert list(texts(7)) != list(texts(8))

    def test_every_kind_comes_within_thirty(self) -> None:
        words = (
            "moves", "trade", "loose", "forgets", "registry", "NetworkManager", "helper", "agent", "connection up",
            "reapply", "wg set", "loses", "portal", "sleeps",
        )  # fmt: skip
        seen: Mapping[str, str] = {word: text for text in texts(7, 30) for word in words if word in text}
        assert set(seen) == set(words)

    def test_the_few_that_are_dealt_each_time_are_of_many_kinds(self) -> None:
        dealt = " ".join(texts(test_soak.SEED, test_soak.EVENTS))
        words = (
            "agent is killed",
            "helper is killed",
            "the registry stops",
            "the registry starts",
            "sleeps",
            "NetworkManager",
        )
        assert [word for word in words if word not in dealt] == []
