"""Recordings as text: CSV tables, JSON lines, mqtt-recorder's CSV; told apart by their first line."""

import base64
import binascii
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np

from stream_rnn.errors import RecordingError, WireError
from stream_rnn.recordings.csv_table import MEANT, NAMES, SECONDS, TARGET
from stream_rnn.sample import Sample
from stream_rnn.transports.topics import TopicTemplate
from stream_rnn.wire import CODECS, WireName

RECORDER_COLUMNS = 6  # mqtt-recorder 1.4: topic, payload, qos, retain, epoch seconds, seconds since the last


class Timed(NamedTuple):
    """A sample and when it came, in seconds from the first of its recording."""

    sample: Sample
    offset_s: float


def samples_of_text(path: Path, topic: str, wire: WireName) -> Iterator[Timed]:
    """Every sample of a text file in its order.

    Args:
        path: The file.
        topic: Template that names the stream of mqtt-recorder's topics; those of other topics are left out.
        wire: Encoding of mqtt-recorder's payloads.

    Raises:
        RecordingError: The file cannot be read, or a line of it; it names the line.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            first = file.readline()
            file.seek(0)
            first_row = next(csv.reader([first]), [])
            if first[:1] in {"{", "["}:
                timed = _of_json_lines(path, file)
            elif len(first_row) == RECORDER_COLUMNS and first_row[3] in {"True", "False"}:
                timed = _of_mqtt_recorder(path, file, TopicTemplate(topic), wire)
            else:
                timed = _of_csv(path, file)
            first_s = None
            for sample, t_s in timed:
                first_s = t_s if first_s is None else first_s
                yield Timed(sample, t_s - first_s)
    except OSError as error:
        raise RecordingError(f"recording {path}: expected a file, got {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error):
        raise RecordingError(
            f"recording {path}: expected .mcap, .npz, or text (CSV, JSON lines), got something else"
        ) from None


def _of_json_lines(path: Path, file: TextIO) -> Iterator[tuple[Sample, float]]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            samples = CODECS["json"].decode_samples(line.encode(), path.stem)
        except WireError as error:
            raise RecordingError(f"recording {path}:{number}: {error}") from None
        for sample in samples:
            if sample.t_ns is None:
                raise RecordingError(f"recording {path}:{number}: expected t_ns in every line, got none")
            yield sample, sample.t_ns / 1e9


def _of_mqtt_recorder(
    path: Path, file: TextIO, template: TopicTemplate, wire: WireName
) -> Iterator[tuple[Sample, float]]:
    found, topic = False, ""
    for number, row in enumerate(csv.reader(file), start=1):
        if len(row) != RECORDER_COLUMNS:
            raise RecordingError(
                f"recording {path}:{number}: expected {RECORDER_COLUMNS} columns, got {len(row)}"
            )
        topic = row[0]
        key = template.key(topic)
        if key is None:
            continue
        found = True
        try:
            t_s = float(row[4])
            samples = CODECS[wire].decode_samples(_payload(row[1], wire), key)
        except (ValueError, WireError) as error:
            raise RecordingError(f"recording {path}:{number}: {error}") from None
        for sample in samples:
            yield sample, t_s
    if not found:
        raise RecordingError(
            f"recording {path}: expected topics as {template.template!r}, got {topic!r} (--topic)"
        )


def _payload(text: str, wire: WireName) -> bytes:
    """A payload as mqtt-recorder writes it: as it is, or base64."""
    if wire == "json" and text[:1] in {"{", "["}:
        return text.encode()
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError(f"expected a payload of {wire}, as text or base64, got {text[:40]!r}") from None


def _of_csv(path: Path, file: TextIO) -> Iterator[tuple[Sample, float]]:
    rows = csv.reader(file)
    header = [name.strip() for name in next(rows, [])]
    at = {name: header.index(name) for name in MEANT if name in header}
    features = [i for i, name in enumerate(header) if name not in MEANT and not name.startswith(TARGET)]
    if not features or not (set(SECONDS) & set(at)):
        raise RecordingError(
            f"recording {path}:1: expected a header with t_s or t_ns and a column for each feature, got "
            f"{', '.join(header)[:60]!r}"
        )
    seconds = next((at[name] for name in ("t_s", "time") if name in at), -1)
    stream = next((at[name] for name in NAMES if name in at), None)
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise RecordingError(f"recording {path}:{number}: expected {len(header)} columns, got {len(row)}")
        try:
            t_ns = int(row[at["t_ns"]]) if "t_ns" in at else round(float(row[seconds]) * 1e9)
            seq = int(row[at["seq"]]) if "seq" in at else None
            x = np.array([row[i] or "nan" for i in features], dtype=np.float32)
        except ValueError as error:
            raise RecordingError(f"recording {path}:{number}: expected numbers: {error}") from None
        yield Sample(path.stem if stream is None else row[stream], seq, t_ns, x), t_ns / 1e9
