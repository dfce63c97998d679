"""Options of every command that reads a table recording, and the reading."""

import argparse
from pathlib import Path

from stream_rnn.recordings.csv_table import read_recording
from stream_rnn.recordings.table import Recording


def configure_tables(parser: argparse.ArgumentParser) -> None:
    """Describe the options that a CSV may need."""
    parser.add_argument(
        "--targets", metavar="NAME,...", help="columns of a CSV that are targets, beside those called y:NAME"
    )
    parser.add_argument(
        "--rate", type=float, metavar="HZ", help="rows a second of a CSV; else by its column time"
    )


def read_told(path: Path, args: argparse.Namespace) -> Recording:
    """Read a recording, as the options say."""
    names = () if args.targets is None else tuple(name.strip() for name in args.targets.split(","))
    return read_recording(path, targets=names, rate_hz=args.rate)
