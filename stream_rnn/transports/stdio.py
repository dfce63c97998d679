"""Standard input and output, for a place in a shell pipe: samples in, predictions out, cut the same way."""

import asyncio
import os
import time
from collections.abc import Callable
from typing import Annotated

import msgspec

from stream_rnn.errors import WireError
from stream_rnn.transports.base import Deliver, Message, Report, no_report
from stream_rnn.transports.cut import CUTTERS, Framing

STREAM = "stdio"
READ_BYTES = 1 << 16


class StdioSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How standard input and output are cut into payloads.

    Attributes:
        framing: `lines` (each payload ends with a newline) or `frames` (32-bit length, then the payload).
        max_bytes: Longest payload; a longer one ends the input.
    """

    framing: Framing = "lines"
    max_bytes: Annotated[int, msgspec.Meta(ge=1, le=2**32 - 1)] = 1 << 20


class StdioTransport:
    """Reads one descriptor, writes another. A reader that is slow holds us up: nothing is lost.

    Args:
        settings: How payloads are cut.
        report: Takes refused.
        on_end: Called when the input ends.
        descriptors: Input and output.

    Attributes:
        counters: received, replied, refused_size, truncated (bytes of an unfinished payload at the end).
    """

    def __init__(
        self,
        settings: StdioSettings,
        *,
        report: Report = no_report,
        on_end: Callable[[], None] = lambda: None,
        descriptors: tuple[int, int] = (0, 1),
    ) -> None:
        self.counters = dict.fromkeys(("received", "replied", "refused_size", "truncated"), 0)
        self._cutter = CUTTERS[settings.framing](settings.max_bytes)
        self._report, self._on_end = report, on_end
        self._input, self._output = descriptors
        self._answers: list[bytes] = []
        self._reading = False
        self._ready = asyncio.Event()

    async def serve(self, deliver: Deliver) -> None:
        """Answer the input to its end; then wait to be cancelled."""
        self._ready.set()
        # A thread reads, because a file cannot be polled; it gives the loop everything in one call.
        while data := await asyncio.to_thread(os.read, self._input, READ_BYTES):
            if not self._take(data, deliver):
                break
        self.counters["truncated"] += self._cutter.pending
        self._on_end()
        await asyncio.Event().wait()

    @property
    def up(self) -> bool:
        """Whether it reads."""
        return self._ready.is_set()

    async def ready(self) -> None:
        """Return once it reads."""
        await self._ready.wait()

    def _take(self, data: bytes, deliver: Deliver) -> bool:
        """Deliver what one read brought and write the answers; False when the input cannot be cut further."""
        messages: list[Message] = []
        t_received_ns, t_arrived_ns = time.time_ns(), time.monotonic_ns()
        error = None
        try:
            for payload in self._cutter.feed(data):
                messages.append(Message(STREAM, payload, t_received_ns, t_arrived_ns, self._reply))  # noqa: PERF401 - those before an error must stay
        except WireError as exc:
            error = exc
        if messages:
            self.counters["received"] += len(messages)
            self._reading = True
            try:
                deliver(messages)
            finally:
                self._reading = False
            self._write()
        if error is not None:
            self.counters["refused_size"] += 1
            self._report("refused", f"{STREAM}: {error}")
        return error is None

    def _reply(self, answer: bytes) -> None:
        """Write an answer: with the others of the same read, or at once when it comes later."""
        self._answers.append(answer)
        if not self._reading:
            self._write()

    def _write(self) -> None:
        answers, self._answers[:] = self._answers[:], []
        rest = memoryview(self._cutter.join(answers))
        while rest:
            rest = rest[os.write(self._output, rest) :]
        self.counters["replied"] += len(answers)
