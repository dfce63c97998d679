"""What can be replayed, as samples with times: MCAP recordings, table recordings, and text."""

from collections.abc import Iterator
from pathlib import Path

from stream_rnn.recordings.mcap import McapRecording
from stream_rnn.recordings.table import read_table
from stream_rnn.recordings.text import Timed, samples_of_text
from stream_rnn.sample import Sample
from stream_rnn.wire import CODECS, WireName


def samples_of(
    path: Path, topic: str = "sensors/{stream}/samples", wire: WireName = "json"
) -> Iterator[Timed]:
    """Every sample of a recording in the order it arrived.

    A table's recordings are streams that follow each other at the table's rate, each numbered from 0.

    Args:
        path: The file.
        topic: As of `samples_of_text`.
        wire: As of `samples_of_text`.

    Raises:
        RecordingError: The file is absent, damaged, or of a kind that cannot be replayed.
    """
    if path.suffix == ".mcap":
        yield from _of_mcap(path)
    elif path.suffix == ".npz":
        yield from _of_table(path)
    else:
        yield from samples_of_text(path, topic, wire)


def _of_mcap(path: Path) -> Iterator[Timed]:
    first_ns = None
    for entry in McapRecording(path).entries():
        if entry.kind == "samples":
            first_ns = entry.t_log_ns if first_ns is None else first_ns
            for sample in CODECS["json"].decode_samples(entry.payload, entry.stream):
                yield Timed(sample, (entry.t_log_ns - first_ns) / 1e9)


def _of_table(path: Path) -> Iterator[Timed]:
    table = read_table(path)
    for name, start, stop in table.spans():
        for row in range(start, stop):
            yield Timed(Sample(name, row - start, None, table.x[row]), row / table.rate_hz)
