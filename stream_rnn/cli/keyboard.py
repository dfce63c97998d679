"""Single keys from a terminal, while something else runs; the terminal is as before whatever happens."""

import asyncio
import contextlib
import os
import sys
import termios
import tty
from collections.abc import Callable, Iterator, Mapping

ARROW_RIGHT = "\x1b[C"


@contextlib.contextmanager
def keys(actions: Mapping[str, Callable[[], None]]) -> Iterator[bool]:
    """Call an action for each key, until the context ends; gives whether there is a terminal to read from.

    Args:
        actions: By key; those of several characters are what a terminal sends for an arrow.
    """
    if not sys.stdin.isatty():
        yield False
        return
    descriptor, loop = sys.stdin.fileno(), asyncio.get_running_loop()
    before = termios.tcgetattr(descriptor)

    def read() -> None:
        pressed = os.read(descriptor, 64).decode(errors="replace")
        while pressed:
            key = ARROW_RIGHT if pressed.startswith(ARROW_RIGHT) else pressed[0]
            pressed = pressed[len(key) :]
            if key in actions:
                actions[key]()

    tty.setcbreak(descriptor)
    loop.add_reader(descriptor, read)
    try:
        yield True
    finally:
        loop.remove_reader(descriptor)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
