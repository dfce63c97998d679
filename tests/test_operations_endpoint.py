"""Over real HTTP: who may read the numbers, what a supervisor is told, and that no client delays the end."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.client import HTTPConnection, HTTPMessage
from typing import NamedTuple

import pytest

from stream_rnn.errors import TransportError
from stream_rnn.operations import endpoint as module
from stream_rnn.operations.endpoint import Endpoint


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: HTTPMessage
    content: str


def nothing_wrong() -> str:
    return ""


@asynccontextmanager
async def serving(
    token: str | None = None, content: bytes = b"a 1.0\n", healthy: str = "", ready: str = ""
) -> AsyncIterator[int]:
    """The port of an endpoint that answers."""
    listening = asyncio.Event()
    endpoint = Endpoint(
        "127.0.0.1",
        0,
        token,
        metrics=lambda: lambda: content,
        healthy=lambda: healthy,
        ready=lambda: ready,
        report=lambda *_: listening.set(),
    )
    task = asyncio.create_task(endpoint.serve(), name="endpoint")
    try:
        await asyncio.wait_for(listening.wait(), 10)
        yield endpoint.port
    finally:
        task.cancel()
        ended, _ = await asyncio.wait([task], timeout=10)
        assert ended, "the endpoint waits for a client"


async def ask(port: int, path: str, method: str = "GET", authorization: bytes | None = None) -> Answer:
    def wait() -> Answer:
        connection = HTTPConnection("127.0.0.1", port, timeout=10)
        connection.putrequest(method, path)
        if authorization is not None:
            connection.putheader("Authorization", authorization)
        connection.endheaders()
        answer = connection.getresponse()
        content = answer.read().decode()
        connection.close()
        return Answer(answer.status, answer.headers, content)

    return await asyncio.to_thread(wait)


async def test_metrics_come_as_prometheus_expects_them() -> None:
    async with serving() as port:
        status, headers, content = await ask(port, "/metrics")
    assert (status, content) == (200, "a 1.0\n")
    assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/readyz"])
async def test_head_is_get_without_content(path: str) -> None:
    async with serving() as port:
        head, get = await ask(port, path, "HEAD"), await ask(port, path)
    assert (head.status, head.content) == (200, "")
    assert head.headers["Content-Type"] == get.headers["Content-Type"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
async def test_other_methods_are_not_allowed(method: str) -> None:
    async with serving() as port:
        answer = await ask(port, "/healthz", method)
    assert (answer.status, answer.headers["Allow"]) == (405, "GET,HEAD")


async def test_unknown_path_is_not_found() -> None:
    async with serving() as port:
        assert (await ask(port, "/")).status == 404


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_reason_is_one_line_of_json(path: str) -> None:
    async with serving(healthy="a\nb", ready="a\nb") as port:
        status, _, content = await ask(port, path)
    assert status == 503
    assert "\n" not in content
    assert json.loads(content) == {"status": "no", "reason": "a\nb"}


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (b"Bearer s3cret", 200),
        (b"bearer  s3cret", 200),
        (None, 401),
        (b"", 401),
        (b"Bearer", 401),
        (b"Bearer s3cre", 401),
        (b"Bearer s3cret2", 401),
        (b"s3cret", 401),
        (b"Basic s3cret", 401),
        (b"Bearer \xff\xfe", 401),
        ("Bearer s3crét".encode(), 401),
    ],
)
async def test_token_opens_the_metrics(authorization: bytes | None, status: int) -> None:
    async with serving("s3cret") as port:
        answer = await ask(port, "/metrics", authorization=authorization)
    assert answer.status == status
    if status == 401:
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert "s3cret" not in answer.content


async def test_token_may_be_any_text() -> None:
    async with serving("clé") as port:
        assert (await ask(port, "/metrics", authorization="Bearer clé".encode())).status == 200


@pytest.mark.parametrize("authorization", [None, b"Bearer", b"Bearer "])
async def test_empty_token_opens_nothing(authorization: bytes | None) -> None:
    async with serving("") as port:
        assert (await ask(port, "/metrics", authorization=authorization)).status == 401


async def test_supervisor_needs_no_token() -> None:
    async with serving("s3cret") as port:
        assert [(await ask(port, path)).status for path in ("/healthz", "/readyz")] == [200, 200]


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param(b"GET /metrics HTTP/1.1\r\nHo", id="unfinished headers"),
        pytest.param(
            b"GET /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab", id="unfinished content"
        ),
        pytest.param(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", id="reads nothing"),
    ],
)
async def test_no_client_delays_the_end(asked: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 0.05)
    with socket.socket() as client:
        async with serving(content=b"x" * 50_000_000) as port:
            client.connect(("127.0.0.1", port))
            client.sendall(asked)
            await ask(port, "/healthz")  # asked later: the other is being answered


async def test_endpoint_tells_where_it_listens() -> None:
    said: list[tuple[str, str]] = []
    told = asyncio.Event()

    def report(kind: str, detail: str) -> None:
        said.append((kind, detail))
        told.set()

    endpoint = Endpoint(
        "127.0.0.1",
        0,
        None,
        metrics=lambda: bytes,
        healthy=nothing_wrong,
        ready=nothing_wrong,
        report=report,
    )
    task = asyncio.create_task(endpoint.serve(), name="endpoint")
    await asyncio.wait_for(told.wait(), 10)
    task.cancel()
    await asyncio.wait([task])
    assert said == [("listening", f"http 127.0.0.1:{endpoint.port}")]


async def test_host_that_is_not_ours_is_told_in_one_line() -> None:
    endpoint = Endpoint(
        "192.0.2.1",
        1,
        None,
        metrics=lambda: bytes,
        healthy=nothing_wrong,
        ready=nothing_wrong,
        report=lambda *_: None,
    )
    with pytest.raises(TransportError) as raised:
        await endpoint.serve()
    assert str(raised.value) == "http 192.0.2.1:1: cannot listen: cannot assign requested address"
