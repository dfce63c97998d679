"""A board as people see it: a screen for a terminal, a line for everything else."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from stream_rnn.cli.board import Board, StreamBoard, percentiles
from stream_rnn.sample import F32
from stream_rnn.wire.fields import flag_names

STREAMS_SHOWN = 12
WIDE = 100  # columns; on a narrower terminal the table leaves out what the traces show
TRACE_S = 6.0
PREDICTED, TRUE = "bright_cyan", "grey62"
STATUS_STYLE = {"online": "bold green", "offline": "bold red"}
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # braille bits by row and column of a cell


def screen(board: Board, now_ns: int, width: int) -> RenderableType:
    """The whole live view.

    Args:
        board: What is known.
        now_ns: Epoch nanoseconds, for rates.
        width: Columns of the terminal.
    """
    busiest = board.busiest(STREAMS_SHOWN)
    parts: list[RenderableType] = [header(board), streams_table(board, now_ns, wide=width >= WIDE)]
    if busiest:
        parts.append(traces(board, busiest[0][0], busiest[0][1], now_ns, width - 4))
    parts.append(latency_table(board))
    if board.events:
        last = board.events[-1]
        parts.append(Text(f"last event  {last.get('kind')}: {last.get('detail')}", style="dim", no_wrap=True))
    return Group(*parts)


def header(board: Board) -> Text:
    """Who serves what, and whether it is there."""
    model = board.info.get("model", {})
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(board.root, style="bold")
    text.append(f"  {board.status}", style=STATUS_STYLE.get(board.status, "bold yellow"))
    if model:
        text.append(
            f"  {model['architecture']}, {model['bin_ms']:g} ms bins, model {model['hash']}", style="dim"
        )
    return text


def streams_table(board: Board, now_ns: int, *, wide: bool) -> Table:
    """One row a stream: the last prediction, the truth, and how it goes."""
    table = Table(expand=True, box=None, pad_edge=False, header_style="dim")
    table.add_column("stream", style="bold", no_wrap=True, overflow="ellipsis", max_width=24 if wide else 10)
    outputs = board.outputs
    for name, unit in outputs:
        table.add_column(f"{name} {unit}".strip() if wide else name, justify="right", style=PREDICTED)
        if wide:
            table.add_column("truth", justify="right", style=TRUE)
        table.add_column("R2", justify="right", no_wrap=True)
    headings = ("Hz", "gaps", "missed", "p50 us", "p99 us", "flags")
    for heading in headings if wide else headings[:-1]:
        table.add_column(heading, justify="right", no_wrap=heading != "flags")
    for name, stream in board.busiest(STREAMS_SHOWN):
        cells, state = _outputs(stream, len(outputs)), _state(stream, now_ns)
        if not wide:
            cells = [cell for i, cell in enumerate(cells) if i % 3 != 1]
            state.pop()
        table.add_row(name, *cells, *state)
    more = len(board.streams) - STREAMS_SHOWN
    if more > 0:
        table.add_row(Text(f"and {more} more", style="dim"))
    return table


def _outputs(stream: StreamBoard, count: int) -> list[str]:
    cells = []
    r2 = stream.r2.value()
    truth = stream.truth.get(stream.last.seq) if stream.last is not None else None
    for k in range(count):
        y = None if stream.last is None or k >= len(stream.last.y) else float(stream.last.y[k])
        cells += [
            _number(y, 2) + _interval(stream, k),
            _number(None if truth is None else float(truth[k]), 2),
        ]
        cells.append(_number(r2[k] if k < len(r2) else None, 3))
    return cells


def _interval(stream: StreamBoard, k: int) -> str:
    """The ends of an output's interval, where predictions have one."""
    bounds = None if stream.last is None else stream.last.bounds
    if bounds is None or k >= bounds.shape[1]:
        return ""
    return f" [{bounds[0, k]:.2f}, {bounds[1, k]:.2f}]"


def _state(stream: StreamBoard, now_ns: int) -> list[str]:
    p50, p99 = percentiles(stream.in_process_us, 50, 99)
    flags = "" if stream.last is None else " ".join(flag_names(stream.last.flags))
    rate = f"{stream.rate_hz(now_ns):.1f}"
    return [rate, str(stream.gaps), str(stream.missed), _number(p50, 0), _number(p99, 0), flags]


def traces(board: Board, name: str, stream: StreamBoard, now_ns: int, width: int) -> Panel:
    """The last seconds of each output of one stream, the truth behind the prediction."""
    points = max(2 * (width - 2), 2)
    every = max(1, round(stream.rate_hz(now_ns) * TRACE_S / points))  # by seq, so that the dots stand still
    recent = [(seq, y) for seq, y in stream.trace if seq % every == 0][-points:]
    seqs = [seq for seq, _ in recent]
    parts: list[RenderableType] = []
    names = board.outputs or [(f"y{k}", "") for k in range(len(recent[0][1]) if recent else 0)]
    for k, (output, unit) in enumerate(names[:3]):
        predicted = np.array([y[k] for _, y in recent], dtype=np.float32)
        true = np.array(
            [stream.truth[seq][k] if seq in stream.truth else np.nan for seq in seqs], dtype=np.float32
        )
        title = Text(f"{output} {unit}".strip(), style="dim")
        parts += [title, plot(true, predicted, width, 5)]
    legend = Text.assemble(("predicted", PREDICTED), "  ", ("truth", TRUE))
    return Panel(Group(*parts), title=f"{name}", subtitle=legend, border_style="grey37")


def plot(true: F32, predicted: F32, width: int, height: int) -> Text:
    """Two series as braille dots, the newest at the right; where both pass, the prediction's colour.

    Args:
        true: Values or NaN, (N,).
        predicted: Values, (N,).
        width: Columns.
        height: Rows.
    """
    finite = np.concatenate([true, predicted])
    finite = finite[np.isfinite(finite)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    spread = max(high - low, 1e-6)
    cells = np.zeros((2, height, width), dtype=np.uint8)
    for layer, series in enumerate((true, predicted)):
        rows = (
            np.where(np.isfinite(series), (high - series) / spread * (4 * height - 1), -1).round().astype(int)
        )
        offset = 2 * width - len(series)
        for column, (before, row) in enumerate(
            pairwise([int(rows[0]) if len(rows) else -1, *map(int, rows)])
        ):
            if row >= 0 and column + offset >= 0:
                for dot in _between(before, row):
                    x = column + offset
                    cells[layer, dot // 4, x // 2] |= DOTS[dot % 4][x % 2]
    text = Text(no_wrap=True)
    for row in range(height):
        for column in range(width):
            behind, front = (int(cells[layer, row, column]) for layer in (0, 1))
            text.append(chr(0x2800 + (behind | front)), style=PREDICTED if front else TRUE)
        text.append("\n" if row < height - 1 else "")
    return text


def _between(before: int, row: int) -> Sequence[int]:
    """The dots that join two neighbours."""
    if before < 0 or abs(row - before) <= 1:
        return (row,)
    return range(before + 1, row + 1) if row > before else range(row, before)


def latency_table(board: Board) -> Table:
    """The daemon's own stages over its last interval."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("stage", style="dim")
    for heading in ("p50 us", "p90 us", "p99 us", "p99.9 us", "max us", "count"):
        table.add_column(heading, justify="right")
    for stage, s in board.metrics.get("latency_us", {}).items():
        figures = [f"{s[key]:.0f}" for key in ("p50_us", "p90_us", "p99_us", "p999_us", "max_us")]
        table.add_row(stage.replace("_", " "), *figures, str(s["count"]))
    return table


def line(board: Board, now_ns: int) -> str:
    """The busiest stream in one line, for a pipe or a log."""
    busiest = board.busiest(1)
    if not busiest:
        return f"{board.root} {board.status}, no predictions yet"
    name, stream = busiest[0]
    outputs = board.outputs or [(f"y{k}", "") for k in range(len(stream.last.y) if stream.last else 0)]
    cells = _outputs(stream, len(outputs))
    parts = [f"{name}: {stream.rate_hz(now_ns):.0f} Hz"]
    for k, (output, unit) in enumerate(outputs):
        y, truth, r2 = cells[3 * k : 3 * k + 3]
        known = f" (truth {truth}, R2 {r2})" if truth != "-" else ""
        parts.append(f"{output} {y} {unit}".strip() + known)
    p50, p99 = percentiles(stream.in_process_us, 50, 99)
    parts.append(f"latency p50 {_number(p50, 0)} us, p99 {_number(p99, 0)} us")
    if stream.missed:
        parts.append(f"missed {stream.missed}")
    if len(board.streams) > 1:
        parts.append(f"and {len(board.streams) - 1} more streams")
    return ", ".join(parts)


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
