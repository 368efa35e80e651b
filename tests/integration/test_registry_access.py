# SPDX-License-Identifier: GPL-2.0-or-later
"""Who may ask is told from the interface that packets come in by, over UDP and TCP, by the real kernel."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.registry_namespaces import (
    DUAL_STACK_PORT,
    OPEN,
    PORT,
    TUNNEL,
    WILDCARD_PORT,
    Namespaces,
    Question,
    namespaces,
)


@pytest.fixture(scope="module")
def machines() -> Iterator[Namespaces]:
    with namespaces() as made:
        yield made


both = pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
ports = pytest.mark.parametrize("port", [PORT, WILDCARD_PORT, DUAL_STACK_PORT], ids=["bound", "wildcard", "dual-stack"])
INNER = [("10.0.0.254", "10.0.0.2"), ("fd00::254", "fd00::2")]
OUTER = [("192.0.2.254", "192.0.2.2"), ("2001:db8::254", "2001:db8::2")]


@both
@ports
@pytest.mark.parametrize(("to", "source"), INNER)
def test_peers_may_ask_through_the_device(machines: Namespaces, to: str, source: str, port: int, tcp: bool) -> None:
    for zone in (TUNNEL, OPEN):
        assert machines.ask(Question(zone, to, source, "wg0", tcp, port)) == "NOERROR"


@both
@ports
@pytest.mark.parametrize(("to", "source"), INNER)
def test_a_forged_inner_source_by_another_interface_is_refused(
    machines: Namespaces, to: str, source: str, port: int, tcp: bool
) -> None:
    for zone in (TUNNEL, OPEN):
        assert machines.ask(Question(zone, to, source, "eth0", tcp, port)) == "REFUSED"
    assert machines.ask(Question(TUNNEL, to, source, "wg0", tcp, port)) == "NOERROR"


@both
@ports
@pytest.mark.parametrize(("to", "source"), [("192.0.2.254", "10.0.0.2"), ("2001:db8::254", "fd00::2")])
def test_it_does_not_matter_at_which_address_it_asks(
    machines: Namespaces, to: str, source: str, port: int, tcp: bool
) -> None:
    assert machines.ask(Question(TUNNEL, to, source, "eth0", tcp, port)) == "REFUSED"
    assert machines.ask(Question(TUNNEL, to, source, "wg0", tcp, port)) == "NOERROR"


@both
@ports
@pytest.mark.parametrize(("to", "source"), OUTER)
def test_a_host_that_is_allowed_may_ask_for_its_zone(
    machines: Namespaces, to: str, source: str, port: int, tcp: bool
) -> None:
    assert machines.ask(Question(OPEN, to, source, "eth0", tcp, port)) == "NOERROR"
    assert machines.ask(Question(TUNNEL, to, source, "eth0", tcp, port)) == "REFUSED"


@both
@ports
def test_others_are_refused(machines: Namespaces, port: int, tcp: bool) -> None:
    assert machines.ask(Question(OPEN, "192.0.2.254", "192.0.2.3", "eth0", tcp, port)) == "REFUSED"


@both
@pytest.mark.parametrize("to", ["127.0.0.1", "10.0.0.254", "192.0.2.254", "fd00::254", "2001:db8::254"])
def test_the_registrys_own_machine_may_ask_at_each_address(machines: Namespaces, to: str, tcp: bool) -> None:
    assert machines.ask_itself(to, tcp=tcp) == "NOERROR"


@both
def test_a_device_that_is_made_anew_is_known_and_one_renamed_is_not(tcp: bool) -> None:
    anew = """
        link delete wg0
        link add wg0 type veth peer name wg0 netns {peer}
        link set wg0 up
        address add 10.0.0.254/24 dev wg0
    """
    asked = Question(TUNNEL, "10.0.0.254", "10.0.0.2", "wg0", tcp)
    with namespaces() as machines:
        assert machines.ask(asked) == "NOERROR"
        machines.change(anew)
        machines.change_asking("link set wg0 up\naddress add 10.0.0.2/24 dev wg0\n")
        assert machines.ask(asked) == "NOERROR"
        machines.change("link set wg0 down\nlink set wg0 name other\nlink set other up\n")
        machines.until_answered(asked, "REFUSED")
