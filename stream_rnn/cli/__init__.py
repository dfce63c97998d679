"""The commands: one file each. The only room that prints."""

import argparse
import importlib
import sys
from collections.abc import Sequence
from types import ModuleType

from stream_rnn import __version__
from stream_rnn.errors import ConfigError, StreamRnnError
from stream_rnn.operations.logs import ESCAPES

COMMANDS = {
    "run": "serve a model: samples in, predictions out",
    "demo": "watch a simulated or recorded motor cortex being decoded, now",
    "watch": "show the predictions of a running daemon",
    "record": "record what a running daemon gets and says",
    "ctl": "tell a running daemon what to do: reset, reload, pause, ...",
    "train": "fit a network to recordings",
    "evaluate": "score a model on a recording, as one continuous stream",
    "replay": "send a recording again, or prove that it still gives the same predictions",
    "halve": "round a model's weights to bfloat16: half the bytes to read a step",
    "info": "describe a model file or a recording",
    "doctor": "find what keeps a daemon from running well here, and say what to do",
}
"""Every command and what it is for. `stream_rnn.cli.<command>` has `configure(parser)` and `run(args)`."""

DESCRIPTION = "A streaming real-time predictor: a recurrent network that steps once per sensor sample."
EPILOG = "exit codes: 0 fine, 1 the work failed, 2 wrong usage or config"


def build_parser(only: str | None = None) -> argparse.ArgumentParser:
    """The parser of the whole command line.

    Args:
        only: The one command whose options are wanted: the others' modules are then not loaded.
    """
    parser = argparse.ArgumentParser("stream-rnn", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"stream-rnn {__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        if only is None or name == only:
            _load(name).configure(command)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = arguments[0] if arguments and arguments[0] in COMMANDS else ""
    args = build_parser(only=command).parse_args(arguments)
    try:
        code: int = _load(args.command).run(args)
    except ConfigError as error:
        return _fail(error, 2)
    except StreamRnnError as error:
        return _fail(error, 1)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `stream-rnn watch --json | head`
        sys.stderr.close()
        return 0
    return code


def _load(command: str) -> ModuleType:
    return importlib.import_module(f"stream_rnn.cli.{command}")


def _fail(error: StreamRnnError, code: int) -> int:
    print(f"stream-rnn: {str(error).translate(ESCAPES)}", file=sys.stderr)  # some quote a peer, or a file
    return code
