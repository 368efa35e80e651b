# SPDX-License-Identifier: GPL-2.0-or-later
"""Objects that we offer on a bus: what is in them, and what D-Bus' standard interfaces say of them.

It knows nothing of connections: a call's path, interface and member in, the method to run or the answer out.
Who must be told no is told by CallFailed, with the D-Bus error name. Introspection of an interface whose contract is
among the files of `interfaces` is that text, with its documentation; of any other it is made of the members.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from wgsd_nm.bus import names
from wgsd_nm.bus.marshal import Variant
from wgsd_nm.core.errors import CallFailed
from wgsd_nm.core.model import shown


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: the unique bus name, and whether the call allows to ask its user for a password.

    `user` is the user's number where the bus has been asked for it.
    """

    name: str
    interactive: bool
    user: int | None = None

    def __str__(self) -> str:
        return self.name if self.user is None else f"user {self.user} ({self.name})"


Handler = Callable[..., Awaitable[Sequence[object]]]
"""handler(caller, *arguments) -> the values of the out arguments, in order"""

Arguments = tuple[tuple[str, str], ...]
"""(name, D-Bus signature) of each"""


@dataclass(frozen=True, slots=True)
class Method:
    """A method, with its arguments in and out."""

    handler: Handler
    arguments: Arguments = ()
    results: Arguments = ()


@dataclass(frozen=True, slots=True)
class Property:
    """A property that can be read. `get` returns its value as it goes to the wire."""

    signature: str
    get: Callable[[], object]


@dataclass(frozen=True, slots=True)
class Signal:
    """A signal, with its arguments."""

    arguments: Arguments = ()


@dataclass(frozen=True, slots=True)
class Interface:
    """An interface and all its members."""

    name: str
    methods: Mapping[str, Method] = field(default_factory=dict)
    properties: Mapping[str, Property] = field(default_factory=dict)
    signals: Mapping[str, Signal] = field(default_factory=dict)


Answer = tuple[str, Sequence[object]]
"""Signature and values of a reply"""


def signature(arguments: Arguments) -> str:
    """Of all of them, as in a message's header."""
    return "".join(type_ for _, type_ in arguments)


_INTROSPECT: Final = """\
  <interface name="org.freedesktop.DBus.Introspectable">
    <method name="Introspect">
      <arg name="xml_data" type="s" direction="out"/>
    </method>
  </interface>
  <interface name="org.freedesktop.DBus.Peer">
    <method name="Ping"/>
    <method name="GetMachineId">
      <arg name="machine_uuid" type="s" direction="out"/>
    </method>
  </interface>
"""
_PROPERTIES: Final = """\
  <interface name="org.freedesktop.DBus.Properties">
    <method name="Get">
      <arg name="interface_name" type="s" direction="in"/>
      <arg name="property_name" type="s" direction="in"/>
      <arg name="value" type="v" direction="out"/>
    </method>
    <method name="GetAll">
      <arg name="interface_name" type="s" direction="in"/>
      <arg name="properties" type="a{sv}" direction="out"/>
    </method>
    <method name="Set">
      <arg name="interface_name" type="s" direction="in"/>
      <arg name="property_name" type="s" direction="in"/>
      <arg name="value" type="v" direction="in"/>
    </method>
    <signal name="PropertiesChanged">
      <arg name="interface_name" type="s"/>
      <arg name="changed_properties" type="a{sv}"/>
      <arg name="invalidated_properties" type="as"/>
    </signal>
  </interface>
"""
_STANDARD: Final = {
    (names.PEER, "Ping"): "",
    (names.PEER, "GetMachineId"): "",
    (names.INTROSPECTABLE, "Introspect"): "",
    (names.PROPERTIES, "Get"): "ss",
    (names.PROPERTIES, "GetAll"): "s",
    (names.PROPERTIES, "Set"): "ssv",
}
_STANDARD_INTERFACES: Final = (names.INTROSPECTABLE, names.PEER, names.PROPERTIES)

_CONTRACTS: Final = Path(__file__).with_name("interfaces")


class Objects:
    """The objects of one connection, by path, and the interfaces of each."""

    def __init__(self) -> None:
        self._interfaces: dict[str, dict[str, Interface]] = {}
        self._texts: dict[str, str] = {}

    def add(self, path: str, interface: Interface) -> None:
        """Offers one more interface at that path."""
        self._interfaces.setdefault(path, {})[interface.name] = interface
        self._texts[interface.name] = contract(interface.name) or _interface_xml(interface)

    def interface(self, path: str, name: str) -> Interface:
        """Raises CallFailed with UnknownObject or UnknownInterface."""
        interfaces = self._interfaces.get(path)
        if interfaces is None:
            raise CallFailed(names.ERROR_UNKNOWN_OBJECT, f"there is no object {path}")
        if name not in interfaces:
            raise CallFailed(names.ERROR_UNKNOWN_INTERFACE, f"the object {path} has no interface {shown(name)}")
        return interfaces[name]

    def method(self, path: str, interface: str, member: str, called_with: str) -> Method:
        """The method to run. `interface` may be "": a caller need not name it.

        Raises CallFailed with UnknownObject, UnknownInterface, UnknownMethod or InvalidArgs.
        """
        if interface:
            found = self.interface(path, interface).methods.get(member)
        else:
            found = next(
                (each.methods[member] for each in self._interfaces.get(path, {}).values() if member in each.methods),
                None,
            )
        if found is None:
            raise CallFailed(names.ERROR_UNKNOWN_METHOD, f"the object {path} has no method {member}")
        _check(member, signature(found.arguments), called_with)
        return found

    def is_standard(self, interface: str, member: str) -> bool:
        """Whether `answer` speaks for that method, not one of ours."""
        return interface in _STANDARD_INTERFACES or (not interface and member in ("Introspect", "Ping"))

    def answer(self, path: str, interface: str, member: str, called_with: str, arguments: Sequence[Any]) -> Answer:
        """The reply of a method of D-Bus' standard interfaces. Raises CallFailed, and what a Property.get raises."""
        if not interface:
            interface = names.PEER if member == "Ping" else names.INTROSPECTABLE
        expected = _STANDARD.get((interface, member))
        if expected is None:
            raise CallFailed(names.ERROR_UNKNOWN_METHOD, f"the interface {interface} has no method {member}")
        _check(member, expected, called_with)
        match member:
            case "Ping":
                return "", ()
            case "GetMachineId":
                return "s", (_machine_id(),)
            case "Introspect":
                return "s", (self.introspection(path),)
            case "Get":
                name, property_ = arguments
                return "v", (self.value(path, name, property_),)
            case "GetAll":
                return "a{sv}", (self.values(path, *arguments),)
            case _:
                name, property_, _ = arguments
                self._property(path, name, property_)
                raise CallFailed(names.ERROR_PROPERTY_READ_ONLY, f"the property {property_} cannot be set")

    def value(self, path: str, interface: str, name: str) -> Variant:
        """A property's value now. Raises CallFailed with UnknownProperty and the like."""
        property_ = self._property(path, interface, name)
        return Variant(property_.signature, property_.get())

    def values(self, path: str, interface: str) -> dict[str, Variant]:
        """All properties of an interface, or of the object if `interface` is ""."""
        every: Iterable[Interface]
        if path in self._interfaces and not interface:
            every = self._interfaces[path].values()
        elif path in self._interfaces and interface in _STANDARD_INTERFACES:
            every = ()
        else:
            every = (self.interface(path, interface),)
        return {
            name: Variant(property_.signature, property_.get())
            for each in every
            for name, property_ in each.properties.items()
        }

    def _property(self, path: str, interface: str, name: str) -> Property:
        found = self.interface(path, interface).properties.get(name)
        if found is None:
            raise CallFailed(names.ERROR_UNKNOWN_PROPERTY, f"the interface {interface} has no property {shown(name)}")
        return found

    def introspection(self, path: str) -> str:
        """The XML of an object or of a node above one. Raises CallFailed with UnknownObject."""
        prefix = path if path.endswith("/") else path + "/"
        below = {other[len(prefix) :].split("/")[0] for other in self._interfaces if other.startswith(prefix)} - {""}
        interfaces = self._interfaces.get(path)
        if interfaces is None and not below:
            raise CallFailed(names.ERROR_UNKNOWN_OBJECT, f"there is no object {path}")
        return "".join(
            (
                '<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN"\n'
                ' "http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd">\n<node>\n',
                _INTROSPECT,
                _PROPERTIES if interfaces else "",
                *(self._texts[name] for name in interfaces or ()),
                *(f"  <node name={_quoted(node)}/>\n" for node in sorted(below)),
                "</node>\n",
            )
        )


def contract(name: str) -> str:
    """What the contract of an interface has inside its <node>, comments and all; "" where there is none.

    It is read when the interface is offered: the text is that of the program that runs, whatever is installed later.
    """
    try:
        text = (_CONTRACTS / f"{name}.xml").read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    node = text.index("<node ")
    return text[text.index(">", node) + 1 : text.rindex("</node>")].strip("\n") + "\n"


def _check(member: str, expected: str, called_with: str) -> None:
    if called_with != expected:
        raise CallFailed(names.ERROR_INVALID_ARGS, f"{member} takes ({expected}), not ({called_with})")


def _machine_id() -> str:
    """machine-id(5)"""
    for file in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        try:
            return Path(file).read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            continue
    raise CallFailed(names.ERROR_FAILED, "this machine has no machine id")


def _interface_xml(interface: Interface) -> str:
    lines = [f"  <interface name={_quoted(interface.name)}>"]
    for name, method in interface.methods.items():
        lines.append(f"    <method name={_quoted(name)}>")
        lines += [_argument_xml(argument, ' direction="in"') for argument in method.arguments]
        lines += [_argument_xml(argument, ' direction="out"') for argument in method.results]
        lines.append("    </method>")
    for name, signal in interface.signals.items():
        lines.append(f"    <signal name={_quoted(name)}>")
        lines += [_argument_xml(argument, "") for argument in signal.arguments]
        lines.append("    </signal>")
    lines += [
        f'    <property name={_quoted(name)} type={_quoted(property_.signature)} access="read"/>'
        for name, property_ in interface.properties.items()
    ]
    lines.append("  </interface>\n")
    return "\n".join(lines)


def _argument_xml(argument: tuple[str, str], direction: str) -> str:
    name, type_ = argument
    return f"      <arg name={_quoted(name)} type={_quoted(type_)}{direction}/>"


_ENTITIES: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"})


def _quoted(text: str) -> str:
    """As the value of an XML attribute. The standard library's own loads its whole HTTP client with it."""
    return f'"{text.translate(_ENTITIES)}"'
