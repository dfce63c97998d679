"""What an operator is told while a daemon serves: a line each, on a way that may be full or closed."""

import os
import select
import sys
import time
from collections.abc import Callable

from stream_rnn.operations.logs import Form, log_line

STDERR = 2


def saying(form: Form, descriptor: int = STDERR) -> Callable[[str, str], None]:
    """What tells (kind, detail) in one line. It neither waits nor fails: a log is no reason to stop serving.

    A line that cannot be written (a full disk, nobody there, a pipe that nobody reads) is given up; the next
    one that can be says how many were lost.

    Args:
        form: For whom.
        descriptor: Where to; standard error unless told.
    """
    lost = 0
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)

    def say(kind: str, detail: str) -> None:
        nonlocal lost
        more = f" ({lost} lines before could not be written)" if lost else ""
        line = log_line(kind, detail + more, time.time_ns(), form).encode("utf-8", "backslashreplace") + b"\n"
        try:
            free = poll.poll(0)
            written = os.write(descriptor, line) if free else 0
        except OSError:
            written = 0
        lost = 0 if written == len(line) else lost + 1

    if descriptor == STDERR:
        sys.stderr.flush()  # what was said before comes first
    return say
