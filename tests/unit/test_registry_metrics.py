# SPDX-License-Identifier: GPL-2.0-or-later
"""The metrics' Unix socket: what it answers, where it can be, and clients that misbehave."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from wgsd_nm.core.errors import AddressUnusable
from wgsd_nm.registry import metrics as module
from wgsd_nm.registry.metrics import CONTENT_TYPE, MAX_CLIENTS, MAX_REQUEST, Metrics, bind

TEXT = "# HELP wgsd_nm_x Ä.\n# TYPE wgsd_nm_x gauge\nwgsd_nm_x 1\n"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def serve(path: Path, story: Callable[[], Awaitable[None]], render: Callable[[], str] = lambda: TEXT) -> None:
    async def run() -> None:
        metrics = Metrics(render)
        await metrics.serve(bind(path))
        try:
            await asyncio.wait_for(story(), 20)
        finally:
            metrics.close()

    asyncio.run(run())


async def ask(path: Path, request: bytes) -> tuple[bytes, bytes]:
    """The head and the body of the response."""
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(request)
    response = await reader.read()
    writer.close()
    head, _, body = response.partition(b"\r\n\r\n")
    return head, body


def test_a_get_is_answered(tmp_path: Path) -> None:
    path = tmp_path / "metrics"

    async def story() -> None:
        for target in (b"/metrics", b"/", b"/metrics?name=x"):
            head, body = await ask(path, b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n")
            status, *headers = head.decode().split("\r\n")
            assert status == "HTTP/1.0 200 OK"
            assert f"Content-Type: {CONTENT_TYPE}" in headers
            assert f"Content-Length: {len(TEXT.encode())}" in headers
            assert body == TEXT.encode()
        head, body = await ask(path, b"HEAD /metrics HTTP/1.0\n\n")
        assert head.startswith(b"HTTP/1.0 200 ")
        assert body == b""

    serve(path, story)


def test_the_path_is_removed_with_the_socket(tmp_path: Path) -> None:
    serve(tmp_path / "metrics", lambda: asyncio.sleep(0))
    assert not (tmp_path / "metrics").exists()


def test_a_path_that_may_not_be_removed_is_left_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def forbidden(_: str) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "unlink", forbidden)
    serve(tmp_path / "metrics", lambda: asyncio.sleep(0))
    assert (tmp_path / "metrics").is_socket()
    assert not caplog.messages


def test_the_text_is_of_the_time_of_the_request(tmp_path: Path) -> None:
    path = tmp_path / "metrics"
    numbers = iter(range(10))

    async def story() -> None:
        for expected in (b"0", b"1"):
            assert (await ask(path, b"GET /metrics HTTP/1.0\r\n\r\n"))[1] == expected

    serve(path, story, lambda: str(next(numbers)))


def test_curl_understands(tmp_path: Path) -> None:
    path = tmp_path / "metrics"

    async def story() -> None:
        command = ("curl", "--silent", "--fail", "--unix-socket", str(path), "http://localhost/metrics")
        curl = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        said, _ = await curl.communicate()
        assert (curl.returncode, said) == (0, TEXT.encode())

    serve(path, story)


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /other HTTP/1.0", b"404"),
        (b"POST /metrics HTTP/1.0", b"405"),
        (b"GET", b"405"),
        (b"\x16\x03\x01\x02\x00", b"405"),
    ],
)
def test_other_requests_are_refused(tmp_path: Path, request_line: bytes, status: bytes) -> None:
    async def story() -> None:
        head, body = await ask(tmp_path / "metrics", request_line + b"\r\n\r\n")
        assert head.split()[:2] == [b"HTTP/1.0", status]
        assert body == b"Expected GET /metrics.\n"

    serve(tmp_path / "metrics", story)


def test_who_says_nothing_or_never_ends_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 0.05)
    path = tmp_path / "metrics"

    async def story() -> None:
        for begun in (b"", b"GET /metrics HTTP/1.0\r\n", b"GET /metrics HTTP/1.0\r\nX: "):
            assert (await ask(path, begun))[0] == b""

    serve(path, story)


def test_a_head_without_end_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 600)

    async def story() -> None:
        reader, writer = await asyncio.open_unix_connection(tmp_path / "metrics")
        try:
            for _ in range(64):
                writer.write(bytes(MAX_REQUEST))
                await writer.drain()
            assert await reader.read() == b""
        except ConnectionError:
            pass
        writer.close()

    serve(tmp_path / "metrics", story)


def test_a_head_of_many_lines_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 600)

    async def story() -> None:
        reader, writer = await asyncio.open_unix_connection(tmp_path / "metrics")
        try:
            for _ in range(64):
                writer.write(b"GET / HTTP/1.0\r\n" * (MAX_REQUEST // 16))
                await writer.drain()
            assert await reader.read() == b""
        except ConnectionError:
            pass
        writer.close()

    serve(tmp_path / "metrics", story)


def test_a_newcomer_gets_the_place_of_the_oldest(tmp_path: Path) -> None:
    path = tmp_path / "metrics"

    async def story() -> None:
        silent: list[Streams] = [await asyncio.open_unix_connection(path) for _ in range(MAX_CLIENTS)]
        for _ in range(3):
            assert (await ask(path, b"GET / HTTP/1.0\r\n\r\n"))[1] == TEXT.encode()
        assert await silent[0][0].read() == b""
        silent[-1][1].write(b"GET / HTTP/1.0\r\n\r\n")
        assert (await silent[-1][0].read()).endswith(TEXT.encode())
        for _, writer in silent:
            writer.close()

    serve(path, story)


def test_newcomers_that_come_at_once_displace_one_each(tmp_path: Path) -> None:
    async def run() -> None:
        metrics = Metrics(lambda: TEXT)
        await metrics.serve(bind(tmp_path / "metrics"))
        sockets = [socket.socket(socket.AF_UNIX) for _ in range(3 * MAX_CLIENTS)]
        for one in sockets:
            one.connect(str(tmp_path / "metrics"))
        left = []
        for _ in range(10):
            await asyncio.sleep(0)
            left.append(len(metrics))
        assert max(left) == MAX_CLIENTS
        metrics.close()
        for one in sockets:
            one.close()

    asyncio.run(run())


def test_the_end_comes_without_a_word_to_a_client_that_is_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket(socket.AF_UNIX) as client:

        async def run() -> None:
            metrics = Metrics(lambda: TEXT)
            await metrics.serve(bind(tmp_path / "metrics"))
            client.connect(str(tmp_path / "metrics"))
            while not len(metrics):  # noqa: ASYNC110 - there is no event
                await asyncio.sleep(0)
            metrics.close()

        asyncio.run(run())
    assert not caplog.messages


class TestBind:
    def test_only_owner_and_group_may_connect(self, tmp_path: Path) -> None:
        with bind(tmp_path / "metrics"):
            assert stat.S_IMODE((tmp_path / "metrics").stat().st_mode) == 0o660

    def test_a_deserted_socket_is_replaced(self, tmp_path: Path) -> None:
        bind(tmp_path / "metrics").close()
        bind(tmp_path / "metrics").close()

    def test_one_in_use_is_left_alone(self, tmp_path: Path) -> None:
        with bind(tmp_path / "metrics"):
            with pytest.raises(AddressUnusable, match="Address already in use"):
                bind(tmp_path / "metrics")
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(tmp_path / "metrics"))

    def test_one_in_use_that_is_busy_is_left_alone(self, tmp_path: Path) -> None:
        path = str(tmp_path / "metrics")
        with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as client:
            busy.bind(path)
            busy.listen(0)
            client.connect(path)
            with pytest.raises(AddressUnusable, match="Address already in use"):
                bind(tmp_path / "metrics")
            assert (tmp_path / "metrics").is_socket()

    def test_what_is_no_socket_is_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "metrics").write_text("precious")
        with pytest.raises(AddressUnusable, match=f"{tmp_path}/metrics: Address already in use"):
            bind(tmp_path / "metrics")
        assert (tmp_path / "metrics").read_text() == "precious"

    def test_a_missing_directory_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(AddressUnusable, match=f"{tmp_path}/none/metrics: make its directory first"):
            bind(tmp_path / "none" / "metrics")

    def test_a_path_that_is_too_long_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(AddressUnusable, match="AF_UNIX path too long"):
            bind(tmp_path / ("x" * 120))
