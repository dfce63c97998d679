"""Who may send: a token before anything else, a socket file of its owner alone, and nothing told of it."""

import asyncio
import json
import os
import socket
import stat
from pathlib import Path

import numpy as np
import pytest

from stream_rnn.config.load import load_config
from stream_rnn.errors import ConfigError, TransportError, WireError
from stream_rnn.recordings.sinks import sink_of
from stream_rnn.sample import Sample
from stream_rnn.transports import admission
from stream_rnn.transports.admission import check_greeting, greeting, is_loopback
from stream_rnn.transports.cut import CUTTERS, Framing
from stream_rnn.transports.datagram import UnixDatagramSettings
from stream_rnn.transports.stream_socket import StreamSocketServer
from tests.test_transport_stream_socket import Reports, at, client, end, make, serving

TOKEN = "s3cret"  # noqa: S105 - what must not be told
EVERYWHERE = "0.0.0.0"  # noqa: S104 - what must be asked for
EXPECTED = 'expected {"token": ...} with the token of [tcp] first'


@pytest.mark.parametrize("framing", ["lines", "frames"])
async def test_a_client_that_says_the_token_first_is_served(framing: Framing) -> None:
    async with serving(make(framing=framing, token=TOKEN)) as server:
        reader, writer = await client(server)
        join = CUTTERS[framing].join
        writer.write(join([greeting(TOKEN), b"[1]"]) + join([b"[2]"]))
        whole = join([b"[1]", b"[2]"])
        assert await asyncio.wait_for(reader.readexactly(len(whole)), 5) == whole
        assert (server.counters["received"], server.counters["refused_token"]) == (2, 0)
        await end(writer)


@pytest.mark.parametrize(
    ("said", "got"),
    [
        (greeting("another"), "another"),
        (b"[1, 2]", "something else"),
        (b'{"token": 7}', "something else"),
        (b"\xff\xfe", "something else"),
        (b'{"token": "\xf0\x9f\x98\x80"}', "another"),
        (b"x" * (admission.MAX_GREETING + 1), "something else"),
    ],
)
async def test_any_other_client_is_told_once_counted_and_disconnected(said: bytes, got: str) -> None:
    reports: Reports = []
    delivered: list[object] = []
    async with serving(make(reports, token=TOKEN), delivered.extend) as server:
        reader, writer = await client(server)
        name = "tcp:{}:{}".format(*writer.get_extra_info("sockname"))
        writer.write(said + b"\n[1, 2]\n")
        answer = json.loads(await asyncio.wait_for(reader.readline(), 5))
        assert answer == {"error": "token", "detail": f"{EXPECTED}, got {got}"}
        assert await asyncio.wait_for(reader.read(), 5) == b""
        assert (server.counters["refused_token"], server.counters["received"]) == (1, 0)
        await end(writer)
    assert ("refused", f"{name}: {EXPECTED}, got {got}") in reports
    assert delivered == []
    assert TOKEN not in str(reports)


async def test_an_unknown_client_is_held_few_bytes_and_a_short_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "PATIENCE_S", 0.05)
    async with serving(make(token=TOKEN)) as server:
        for said, got in ((b"x" * 5000, "something longer"), (b"", "none within 0.05 s")):
            reader, writer = await client(server)
            writer.write(said)
            answer = json.loads(await asyncio.wait_for(reader.readline(), 5))
            assert answer["detail"] == f"{EXPECTED}, got {got}"
            await end(writer)
        assert server.counters["refused_token"] == 2


async def test_a_replay_says_the_token_and_tells_when_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = [Sample("a", i, None, np.array([i], np.float32)) for i in range(3)]

    async def replay(server: StreamSocketServer) -> None:
        async with sink_of(f"tcp://127.0.0.1:{server.port}", "{stream}") as (send, drain):
            for sample in samples:
                send(sample)
            await drain()

    monkeypatch.setenv("STREAM_RNN_TCP__TOKEN", TOKEN)
    async with serving(make(token=TOKEN)) as server:
        await replay(server)
        assert server.counters["received"] == 3
        monkeypatch.delenv("STREAM_RNN_TCP__TOKEN")
        with pytest.raises(TransportError) as caught:
            await replay(server)
    where = f"tcp://127.0.0.1:{server.port}"
    assert str(caught.value) == f"{where}: {EXPECTED}, got something else (STREAM_RNN_TCP__TOKEN)"


@pytest.mark.parametrize("url", ["tcp://u:s3cret@127.0.0.1:1", "mqtt://u:s3cret@h", "ftp://u:s3cret@h"])
def test_a_secret_in_an_address_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        sink_of(url, "{stream}")
    assert "user name or password" in str(caught.value)
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("payload", [b'{"token": "\\ud800"}', b"[" * 100_000, b""])
def test_no_first_payload_breaks_the_check(payload: bytes) -> None:
    with pytest.raises(WireError) as caught:
        check_greeting(payload, TOKEN)
    assert caught.value.reason == "token"


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("localhost", True), (EVERYWHERE, False),
     ("::", False), ("", False), ("10.0.0.7", False), ("localhost.example", False)],
)  # fmt: skip
def test_loopback_is_what_only_this_machine_reaches(host: str, expected: bool) -> None:  # noqa: FBT001
    assert is_loopback(host) == expected


def configured(**sections: dict[str, object]) -> None:
    load_config(None, {}, {"model": {"path": "m"}, **sections})


def test_a_port_that_others_reach_needs_a_token_or_an_open_word() -> None:
    with pytest.raises(ConfigError) as caught:
        configured(tcp={"host": EVERYWHERE, "port": 1})
    expected = "tcp.token: expected one, since tcp.host '0.0.0.0' is not loopback; got none"
    assert str(caught.value) == f"config: {expected}"
    configured(tcp={"host": EVERYWHERE, "port": 1, "token": TOKEN})
    with pytest.raises(ConfigError) as caught:
        configured(udp={"host": EVERYWHERE, "port": 1})
    assert str(caught.value) == (
        "config: udp.insecure: expected true, since udp.host '0.0.0.0' is not loopback and a datagram proves "
        "nothing about its sender; got false"
    )
    configured(udp={"host": EVERYWHERE, "port": 1, "insecure": True})


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
@pytest.mark.parametrize("mode", ["0600", "0660"])
async def test_a_socket_file_has_the_mode_it_is_told_whatever_the_mask(
    tmp_path: Path, mode: str, mask: int
) -> None:
    before = os.umask(mask)
    try:
        async with serving(at(tmp_path / "s", mode=mode)):
            sock = UnixDatagramSettings(path=str(tmp_path / "d"), mode=mode).open()
            found = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("s", "d")]
            sock.close()
    finally:
        os.umask(before)
    assert found == [int(mode, 8)] * 2


async def test_a_socket_file_is_its_owners_alone_unless_told(tmp_path: Path) -> None:
    async with serving(at(tmp_path / "s")):
        assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o600
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(tmp_path / "s"))
