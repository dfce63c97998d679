"""The datagrams that systemd hears, on a real socket; a manager that does not read holds up nobody."""

import asyncio
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from stream_rnn.operations.notify import Notifier


@pytest.fixture(params=["pathname", "abstract"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "notify") if request.param == "pathname" else f"@stream-rnn-notify-{os.getpid()}"


@pytest.fixture
def manager(address: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind("\0" + address[1:] if address.startswith("@") else address)
        receiver.settimeout(10)
        yield receiver


def test_each_word_is_one_datagram(address: str, manager: socket.socket) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": address}, clock=lambda: 1_234_567_899)
    notifier.ready("model abc over tcp")
    notifier.reloading()
    notifier.stopping()
    heard = [manager.recv(4096) for _ in range(3)]
    assert heard == [
        b"READY=1\nSTATUS=model abc over tcp",
        b"RELOADING=1\nMONOTONIC_USEC=1234567",
        b"STOPPING=1",
    ]


async def one_beat(notifier: Notifier) -> None:
    watching = asyncio.create_task(notifier.watch(), name="watch")
    await asyncio.sleep(0)
    watching.cancel()
    await asyncio.wait([watching])


@pytest.mark.parametrize(
    ("environment", "heard"),
    [
        ({"WATCHDOG_USEC": "1000000"}, [b"WATCHDOG=1"]),
        ({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "7"}, [b"WATCHDOG=1"]),
        ({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "8"}, []),
        ({"WATCHDOG_USEC": "0"}, []),
        ({"WATCHDOG_USEC": "soon"}, []),
        ({}, []),
    ],
)
async def test_watchdog_is_fed_where_it_is_ours(
    address: str, manager: socket.socket, environment: dict[str, str], heard: list[bytes]
) -> None:
    await one_beat(Notifier({"NOTIFY_SOCKET": address, **environment}, pid=7))
    manager.settimeout(0)
    assert [manager.recv(4096) for _ in heard] == heard
    with pytest.raises(BlockingIOError):
        manager.recv(4096)


@pytest.mark.parametrize("word", ["stopping", "beat"])
def test_manager_that_does_not_read_holds_up_nobody(address: str, manager: socket.socket, word: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler:
        filler.settimeout(0)
        filler.connect(manager.getsockname())
        with suppress(BlockingIOError):
            while True:
                filler.send(b"STATUS=still here")
    notifier = Notifier({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000"})
    speaking = threading.Thread(
        target=notifier.stopping if word == "stopping" else lambda: asyncio.run(one_beat(notifier)),
        daemon=True,
    )
    speaking.start()
    speaking.join(10)
    assert not speaking.is_alive()
