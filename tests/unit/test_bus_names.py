# SPDX-License-Identifier: GPL-2.0-or-later
"""Names as D-Bus and polkit take them, and our errors there and back."""

from __future__ import annotations

import re

import pytest

from wgsd_nm.bus import names
from wgsd_nm.core import errors

BUS_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+")
ACTION = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+")


def texts(prefix: str = "") -> list[str]:
    return [value for name, value in vars(names).items() if name.startswith(prefix) and isinstance(value, str)]


def kinds(root: type[errors.WgsdError] = errors.WgsdError) -> list[type[errors.WgsdError]]:
    return [root, *(kind for child in root.__subclasses__() for kind in kinds(child))]


@pytest.mark.parametrize("name", [names.AGENT, names.HELPER, *texts("ERROR_")])
def test_names_are_such_as_the_bus_takes(name: str) -> None:
    assert BUS_NAME.fullmatch(name)
    assert len(name) <= 255


@pytest.mark.parametrize("action", texts("ACTION_"))
def test_actions_are_such_as_polkit_takes(action: str) -> None:
    assert ACTION.fullmatch(action)


@pytest.mark.parametrize(("path", "name"), [(names.AGENT_PATH, names.AGENT), (names.HELPER_PATH, names.HELPER)])
def test_paths_follow_names(path: str, name: str) -> None:
    assert path == "/" + name.replace(".", "/")


@pytest.mark.parametrize("kind", kinds())
def test_each_error_has_a_name_on_the_bus(kind: type[errors.WgsdError]) -> None:
    error = kind("x", "y") if kind is errors.CallFailed else kind("x")
    assert BUS_NAME.fullmatch(names.error_name(error)) or kind is errors.CallFailed


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (errors.NoSuchDevice("x"), "io.github.wgsd_nm.Error.NoSuchDevice"),
        (errors.NoSuchPeer("x"), "io.github.wgsd_nm.Error.NoRegistryAnswered"),
        (errors.AccessDenied("x"), "org.freedesktop.DBus.Error.AccessDenied"),
        (errors.InvalidValue("x"), "org.freedesktop.DBus.Error.InvalidArgs"),
        (errors.CallFailed("org.example.Error", "x"), "org.example.Error"),
        (errors.DeviceError("x"), "io.github.wgsd_nm.Error.Failed"),
        (errors.WgsdError("x"), "io.github.wgsd_nm.Error.Failed"),
    ],
)
def test_the_nearest_class_names_an_error(error: errors.WgsdError, name: str) -> None:
    assert names.error_name(error) == name


@pytest.mark.parametrize("kind", [kind for kind, name in names.ERROR_NAMES.items() if "wgsd_nm" in name])
def test_our_own_names_are_read_back(kind: type[errors.WgsdError]) -> None:
    assert names.error_class(names.ERROR_NAMES[kind]) is kind


@pytest.mark.parametrize("name", ["", names.ERROR_FAILED, names.ERROR_ACCESS_DENIED, "org.example.Error"])
def test_other_names_are_not_ours(name: str) -> None:
    assert names.error_class(name) is None
