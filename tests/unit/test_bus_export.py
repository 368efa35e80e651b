# SPDX-License-Identifier: GPL-2.0-or-later
"""Which method a call finds, and what the standard interfaces say of an object."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest

from wgsd_nm.bus import export, names
from wgsd_nm.bus.export import Caller, Interface, Method, Objects, Property, Signal, signature
from wgsd_nm.bus.marshal import Variant
from wgsd_nm.core.errors import CallFailed

PATH = "/org/example/Thing1"
NAME = "org.example.Thing1"


async def do(_caller: Caller, text: str) -> Sequence[object]:
    return [text]


@pytest.fixture
def objects() -> Objects:
    made = Objects()
    made.add(
        PATH,
        Interface(
            NAME,
            methods={"Do": Method(do, arguments=(("what", "s"), ("how", "a{sv}")), results=(("done", "b"),))},
            properties={"Level": Property("u", lambda: 5), "Title": Property("s", lambda: "<&>")},
            signals={"Moved": Signal((("from", "s"), ("to", "s")))},
        ),
    )
    made.add(PATH, Interface("org.example.Other1", properties={"Level": Property("s", lambda: "other")}))
    made.add(PATH + "/Part", Interface("org.example.Part1", methods={'<&">': Method(do)}))
    return made


def refusal(objects: Objects, *call: str, arguments: Sequence[object] = ()) -> str:
    path, interface, member, called_with = call
    try:
        if objects.is_standard(interface, member):
            objects.answer(path, interface, member, called_with, arguments)
        else:
            objects.method(path, interface, member, called_with)
    except CallFailed as error:
        return error.name
    raise AssertionError("the call is not refused")


def test_a_signature_is_that_of_all_arguments() -> None:
    assert signature((("a", "s"), ("b", "a{sv}"))) == "sa{sv}"


@pytest.mark.parametrize("interface", [NAME, ""])
def test_a_method_is_found(objects: Objects, interface: str) -> None:
    assert objects.method(PATH, interface, "Do", "sa{sv}").handler is do


def test_each_refusal_has_its_name(objects: Objects) -> None:
    assert refusal(objects, "/nowhere", NAME, "Do", "sa{sv}") == names.ERROR_UNKNOWN_OBJECT
    assert refusal(objects, PATH, "a.B", "Do", "sa{sv}") == names.ERROR_UNKNOWN_INTERFACE
    assert refusal(objects, PATH, NAME, "Undo", "") == names.ERROR_UNKNOWN_METHOD
    assert refusal(objects, PATH, "", "Undo", "") == names.ERROR_UNKNOWN_METHOD
    assert refusal(objects, PATH, NAME, "Do", "s") == names.ERROR_INVALID_ARGS
    assert refusal(objects, PATH, names.PEER, "Pong", "") == names.ERROR_UNKNOWN_METHOD
    assert refusal(objects, PATH, names.PEER, "Ping", "s") == names.ERROR_INVALID_ARGS


def test_properties(objects: Objects) -> None:
    ask = names.PROPERTIES
    assert objects.answer(PATH, ask, "Get", "ss", [NAME, "Level"]) == ("v", (Variant("u", 5),))
    assert objects.answer(PATH, ask, "GetAll", "s", [NAME]) == (
        "a{sv}",
        ({"Level": Variant("u", 5), "Title": Variant("s", "<&>")},),
    )
    assert objects.answer(PATH, ask, "GetAll", "s", ["org.example.Other1"])[1] == ({"Level": Variant("s", "other")},)
    assert set(objects.values(PATH, "")) == {"Level", "Title"}
    assert objects.values(PATH, names.PEER) == {}


@pytest.mark.parametrize(
    ("member", "called_with", "arguments", "expected"),
    [
        ("Get", "ss", [NAME, "Depth"], names.ERROR_UNKNOWN_PROPERTY),
        ("Get", "ss", ["a.B", "Level"], names.ERROR_UNKNOWN_INTERFACE),
        ("GetAll", "s", ["a.B"], names.ERROR_UNKNOWN_INTERFACE),
        ("Set", "ssv", [NAME, "Level", 6], names.ERROR_PROPERTY_READ_ONLY),
        ("Set", "ssv", [NAME, "Depth", 6], names.ERROR_UNKNOWN_PROPERTY),
        ("Get", "s", [NAME], names.ERROR_INVALID_ARGS),
    ],
)
def test_properties_refused(
    objects: Objects, member: str, called_with: str, arguments: Sequence[object], expected: str
) -> None:
    assert refusal(objects, PATH, names.PROPERTIES, member, called_with, arguments=arguments) == expected


def test_no_properties_where_there_is_no_object(objects: Objects) -> None:
    for name in (NAME, "", names.PEER):
        with pytest.raises(CallFailed) as caught:
            objects.values("/nowhere", name)
        assert caught.value.name == names.ERROR_UNKNOWN_OBJECT


def test_ping_and_machine_id(objects: Objects) -> None:
    assert objects.answer("/any", names.PEER, "Ping", "", []) == ("", ())
    assert objects.answer("/any", "", "Ping", "", []) == ("", ())
    assert objects.is_standard("", "Introspect")
    assert not objects.is_standard(NAME, "Introspect")


def test_introspection_names_every_argument(objects: Objects) -> None:
    (text,) = objects.answer(PATH, names.INTROSPECTABLE, "Introspect", "", [])[1]
    node = ElementTree.fromstring(str(text).split("\n", 2)[2])
    found = {interface.get("name"): interface for interface in node.findall("interface")}
    assert set(found) == {NAME, "org.example.Other1", names.PEER, names.PROPERTIES, names.INTROSPECTABLE}
    arguments = [
        (argument.get("name"), argument.get("type"), argument.get("direction"))
        for argument in found[NAME].findall("method[@name='Do']/arg")
    ]
    assert arguments == [("what", "s", "in"), ("how", "a{sv}", "in"), ("done", "b", "out")]
    moved = [(argument.get("name"), argument.get("type")) for argument in found[NAME].findall("signal/arg")]
    assert moved == [("from", "s"), ("to", "s")]
    properties = [(each.get("name"), each.get("type"), each.get("access")) for each in found[NAME].findall("property")]
    assert properties == [("Level", "u", "read"), ("Title", "s", "read")]
    assert [child.get("name") for child in node.findall("node")] == ["Part"]
    part = ElementTree.fromstring(objects.introspection(PATH + "/Part").split("\n", 2)[2])
    assert [method.get("name") for method in part.findall("interface[@name='org.example.Part1']/method")] == ['<&">']


def test_nodes_above_an_object_lead_to_it(objects: Objects) -> None:
    for path, child in (("/", "org"), ("/org", "example"), ("/org/example", "Thing1")):
        node = ElementTree.fromstring(objects.introspection(path).split("\n", 2)[2])
        assert [each.get("name") for each in node.findall("node")] == [child]
    for path in ("/or", "/org/example/Thing1/Part/x"):
        assert refusal(objects, path, names.INTROSPECTABLE, "Introspect", "") == names.ERROR_UNKNOWN_OBJECT


def test_the_contract_of_an_interface_is_served_as_it_was_when_it_was_offered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "_CONTRACTS", tmp_path)
    described = f'  <!-- Thing1: it is > one. -->\n  <interface name="{NAME}">\n  </interface>\n'
    file = tmp_path / f"{NAME}.xml"
    file.write_text(f'<?xml version="1.0"?>\n<!DOCTYPE node>\n<node name="{PATH}">\n\n{described}</node>\n')
    objects = Objects()
    objects.add(PATH, Interface(NAME))
    objects.add(PATH, Interface("org.example.Other1"))
    file.unlink()
    assert described in objects.introspection(PATH)
    node = ElementTree.fromstring(objects.introspection(PATH).split("\n", 2)[2])
    ours = [each.get("name") for each in node.findall("interface")][-2:]
    assert ours == [NAME, "org.example.Other1"]
