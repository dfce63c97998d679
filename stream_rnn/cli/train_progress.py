"""How far a fit is, and how long it will still take: a bar on a terminal, lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from stream_rnn.training.run import Epoch

LINES = 20  # of a whole fit, where there is no terminal


class TimeLeft:
    """Seconds that are left of epochs, or other equal parts, by those seen so far.

    The first one compiles, and stands for the others only until there is another.

    Args:
        clock: Seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since, self._number = clock(), -1

    def after(self, number: int, of: int) -> float:
        """What is left after this one, if none is left out."""
        now = self._clock()
        if self._number < 0:
            each = now - self._since
            self._since, self._number = now, number
        else:
            each = (now - self._since) / (number - self._number)
        return each * (of - number)


def clock_text(seconds: float) -> str:
    """Seconds as people read them: 0:07, 12:30, 1:02:03."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


@contextmanager
def fit_progress(console: Console) -> Iterator[Callable[[Epoch], None]]:
    """A bar on a terminal, a line now and then elsewhere; both on standard error."""
    left = TimeLeft()
    if not console.is_terminal:
        yield lambda epoch: _tell(epoch, left.after(epoch.number, epoch.of))
        return
    columns = (
        TextColumn("[bold]epoch"),
        MofNCompleteColumn(),
        BarColumn(),
        TextColumn("{task.fields[said]}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("fit", total=None, said="")

        def show(epoch: Epoch) -> None:
            said = f"{_scores(epoch)}, {clock_text(left.after(epoch.number, epoch.of))} left"
            bar.update(task, total=epoch.of, completed=epoch.number, said=said)

        yield show


def _scores(epoch: Epoch) -> str:
    return f"loss {epoch.loss:.3f}, validation R2 {epoch.validation_r2:.3f}, best {epoch.best_r2:.3f}"


def _tell(epoch: Epoch, left_s: float) -> None:
    if epoch.number % max(1, epoch.of // LINES) == 0 or epoch.number == epoch.of:
        print(
            f"epoch {epoch.number}/{epoch.of}: {_scores(epoch)}, {clock_text(left_s)} left",
            file=sys.stderr,
            flush=True,
        )
