"""`stream-rnn run`: serve a model until told to stop."""

import argparse
import contextlib
import gc
import os
import signal
import time
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

import msgspec

from stream_rnn.cli.saying import STDERR, saying
from stream_rnn.config.load import PREFIX, Settings, load_config, parse_value, shown
from stream_rnn.config.sections import SECRETS, Config
from stream_rnn.daemon.beside import compile_beside
from stream_rnn.daemon.daemon import Daemon, Reread
from stream_rnn.daemon.loop import run_until_done
from stream_rnn.errors import ConfigError
from stream_rnn.operations.logs import Form, log_line
from stream_rnn.operations.notify import Notifier
from stream_rnn.predictor import Predictor


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    parser.add_argument("config", nargs="?", type=Path, help="TOML file; see docs/config.md")
    parser.add_argument("--model", metavar="FILE", help="model file (model.path)")
    parser.add_argument("--broker", metavar="URL", help="mqtt://host:port or mqtts://host:port (mqtt.url)")
    parser.add_argument("--topic", help="where samples arrive, as sensors/{stream}/samples (mqtt.topic)")
    parser.add_argument("--listen", metavar="HOST:PORT", help="serve TCP clients too (tcp.host, tcp.port)")
    parser.add_argument(
        "--stdio", action="store_true", help="samples from standard input, as JSON lines ([stdio])"
    )
    parser.add_argument("--check", action="store_true", help="check config and model, serve nothing")
    parser.add_argument(
        "--print-config", action="store_true", help="print the config as it would be used, and end"
    )
    parser.add_argument("--example", action="store_true", help="print a complete, commented config and end")
    parser.add_argument(
        "--forget-state",
        action="store_true",
        help="begin the sessions of [state] anew: delete what earlier runs left there",
    )
    parser.add_argument("--log", choices=get_args(Form), default="text", help="form of what is said (text)")
    parser.add_argument(
        "--set",
        metavar="SECTION.KEY=VALUE",
        action="append",
        default=[],
        dest="settings",
        help="any other key of the config; may be given several times",
    )


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT, or print the example."""
    if args.example:
        print(files("stream_rnn").joinpath("config.example.toml").read_text(encoding="utf-8"), end="")
        return 0
    with leaving_at_once(args.log):
        return _start(args)


def _start(args: argparse.Namespace) -> int:
    config = load_config(args.config, os.environ, flags(args))
    if args.print_config:
        print(as_toml(shown(config)), end="")
        return 0
    say = saying(args.log)
    began = time.monotonic()
    with nothing_collected():
        compile_beside(Path(config.model.path), sparse=config.daemon.sparse)
        predictor = loaded(config)
    say("model", f"{config.model.path}: {predictor.model.card.architecture}, {predictor.model.hash}")
    say("compiled", f"golden vector equal, in {time.monotonic() - began:.1f} s")
    if args.check:
        say("fine", "config and model can be served")
        return 0

    if args.forget_state and config.state is not None:
        from stream_rnn.state.store import forget  # noqa: PLC0415 - 5 ms that only this needs

        forget(Path(config.state.path))

    def reread() -> tuple[Config, Predictor]:
        changed = load_config(args.config, os.environ, flags(args))
        return changed, loaded(changed)

    run_until_done(serve(config, predictor, reread, say))
    return 0


@contextlib.contextmanager
def nothing_collected() -> Iterator[None]:
    """What is made meanwhile mostly stays: it is not searched for garbage, then or while samples come."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def loaded(config: Config) -> Predictor:
    """The model, compiled, proved, and fitted to this machine.

    Raises:
        ModelError: It cannot be served, or makes no intervals where the config asks for them.
    """
    predictor = Predictor.load(config.model.path)
    if config.interval is not None:
        predictor.model.calibration()
    if config.daemon.sparse:
        predictor.tune(time.perf_counter_ns)
    return predictor


async def serve(
    config: Config, predictor: Predictor, reread: Reread, say: Callable[[str, str], None]
) -> None:
    """Run a daemon on this event loop."""
    daemon = Daemon(config, predictor, say, reread, Notifier(os.environ))
    daemon.open_configured()
    await daemon.run()
    totals, refused = daemon.pipeline.sessions.totals, daemon.pipeline.refused
    say("stopped", f"{totals.stepped} samples stepped, {sum(refused.values())} refused")


def as_toml(sections: dict[str, Any]) -> str:
    """A config as a TOML file: its values are text, numbers, true and false; what is not set is left out."""
    lines = []
    for name, values in sections.items():
        if values is not None:
            lines += [f"[{name}]", *(f"{k} = {_toml(v)}" for k, v in values.items() if v is not None), ""]
    return "\n".join(lines)


def _toml(value: str | float | bool) -> str:  # noqa: FBT001 - one of three kinds of value
    return msgspec.json.encode(value).decode()


def flags(args: argparse.Namespace) -> Settings:
    """What the command line says, by section and key.

    Raises:
        ConfigError: A setting without a section, key or value, or a secret.
    """
    settings: Settings = {}
    for section, key, value in (
        ("model", "path", args.model),
        ("mqtt", "url", args.broker),
        ("mqtt", "topic", args.topic),
    ):
        if value is not None:
            settings.setdefault(section, {})[key] = value
    if args.listen is not None:
        host, _, port = args.listen.rpartition(":")
        settings["tcp"] = {"port": parse_value(port)} | ({"host": host} if host else {})
    if args.stdio:
        settings["stdio"] = {}
    for setting in args.settings:
        name, equals, value = setting.partition("=")
        section, dot, key = name.partition(".")
        if not (equals and dot and section and key):
            raise ConfigError(f"--set: expected SECTION.KEY=VALUE, got {name!r}")
        if (section, key) in SECRETS:
            elsewhere = f"{PREFIX}{section}__{key}".upper()
            raise ConfigError(
                f"--set: expected {name} in {elsewhere} or in a file ({name}_file): every user of this "
                "machine can read a command line"
            )
        settings.setdefault(section, {})[key] = parse_value(value)
    return settings


@contextlib.contextmanager
def leaving_at_once(form: Form) -> Iterator[None]:
    """End with one line and code 0 when told to, until the daemon listens to its signals itself.

    No exception: it would end up in whatever the compiler or its callbacks are doing, and be lost there.
    """

    def leave(_number: int, _frame: object) -> None:
        line = log_line("stopped", "before it was ready", time.time_ns(), form)
        with contextlib.suppress(OSError):
            os.write(STDERR, f"{line}\n".encode())
        os._exit(0)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
