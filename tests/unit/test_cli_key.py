# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import argparse

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wgsd_nm.cli import key
from wgsd_nm.core.errors import InvalidValue
from wgsd_nm.core.model import PublicKey

BASE64 = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
BASE32 = "aaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypq===="


def run(*keys: str) -> int:
    parser = argparse.ArgumentParser()
    key.add_parser(parser.add_subparsers())
    arguments = parser.parse_args(["key", *keys])
    status: int = arguments.run(arguments)
    return status


def test_each_form_becomes_the_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(BASE64, BASE32, BASE32.upper().rstrip("="), f"{BASE32}._wireguard._udp.wg.example.com.") == 0
    assert capsys.readouterr().out.splitlines() == [BASE32, BASE64, BASE64, BASE64]


def test_the_others_are_printed_though_one_is_no_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("x", BASE64, BASE64[:-2] + "9=") == 2
    said = capsys.readouterr()
    assert said.out == BASE32 + "\n"
    assert [line.split(":")[0] for line in said.err.splitlines()] == ["wgsd-nm", "wgsd-nm"]
    assert "44 letters of base64, or 52 or 56 letters of base32" in said.err


def test_a_key_is_needed() -> None:
    with pytest.raises(SystemExit, match="2"):
        run()


@settings(max_examples=60)
@given(st.binary(min_size=32, max_size=32).map(PublicKey))
def test_there_and_back(one: PublicKey) -> None:
    assert key.converted(key.converted(str(one))) == str(one)


@settings(max_examples=60)
@given(st.text())
def test_another_text_is_invalid(text: str) -> None:
    with pytest.raises(InvalidValue):
        key.converted(text)
