"""Word to systemd, one datagram each, after sd_notify(3): ready, reloading, stopping, still turning."""

import asyncio
import os
import socket
import time
from collections.abc import Callable, Mapping

PATIENCE_S = 0.5
"""How long a manager that does not read is waited for: samples wait with us. The watchdog does not wait."""


class Notifier:
    """Tells the service manager, where there is one.

    Args:
        environment: Where `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` are looked up.
        pid: Who we are: a watchdog of another process is not ours to feed.
        clock: Gives monotonic nanoseconds, of the clock that the manager has too.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        pid: int | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._clock = clock
        self._address = environment.get("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):  # in the abstract namespace
            self._address = "\0" + self._address[1:]
        ours = environment.get("WATCHDOG_PID") in {None, str(os.getpid() if pid is None else pid)}
        every_us = environment.get("WATCHDOG_USEC", "") if ours else ""
        self.watchdog_s = int(every_us) / 1e6 if every_us.isdecimal() else 0.0

    def ready(self, told: str) -> None:
        """Samples can come in: at the start, and when a reload has ended."""
        self._send("READY=1", f"STATUS={told}")

    def reloading(self) -> None:
        """Config and model are read again; `ready` ends it."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={self._clock() // 1000}")

    def stopping(self) -> None:
        """Nothing is taken in any more."""
        self._send("STOPPING=1")

    async def watch(self) -> None:
        """Feed the watchdog, at half its time, from the loop that serves: one that hangs starves it."""
        while self.watchdog_s and self._address:
            self._send("WATCHDOG=1", patience_s=0)
            await asyncio.sleep(self.watchdog_s / 2)

    def _send(self, *lines: str, patience_s: float = PATIENCE_S) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.settimeout(patience_s)
            try:
                sender.connect(self._address)
                sender.sendall("\n".join(lines).encode())
            except OSError:  # a manager that is gone or stuck cannot be told; it is no reason to stop serving
                return
