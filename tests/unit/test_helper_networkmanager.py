# SPDX-License-Identifier: GPL-2.0-or-later
"""The users that a profile admits; the calls themselves are in tests/integration/test_helper.py."""

from __future__ import annotations

import pytest

from wgsd_nm.helper.networkmanager import users_of


@pytest.mark.parametrize("connection", [{}, {"permissions": []}])
def test_a_profile_without_permissions_is_everybodys(connection: dict[str, list[str]]) -> None:
    assert users_of(connection) is None


@pytest.mark.parametrize(
    ("permissions", "users"),
    [
        (["user:alice:"], frozenset({"alice"})),
        (["user:alice"], frozenset({"alice"})),
        (["user:alice:", "user:bob:reserved"], frozenset({"alice", "bob"})),
        (["group:staff:"], frozenset()),
        (["alice"], frozenset()),
        ([""], frozenset()),
        (["user"], frozenset()),
    ],
)
def test_only_those_named_are_admitted(permissions: list[str], users: frozenset[str]) -> None:
    assert users_of({"permissions": permissions}) == users
