"""Messages through a broker, beside bare echoes and a C client: `python -m bench.bench_mqtt`. On one core.

mosquitto, the client and the load share that core; a payload is 384 bytes (96 float32). A daemon decodes,
steps network A, encodes and publishes; an echo only sends back what came. Rates keep WINDOW messages under
way; latency is open-loop at 1 kHz, from the time a message was due.
"""

import contextlib
import ctypes.util
import importlib.util
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from bench.mqtt_load import Load
from bench.networks import INPUTS, named, samples
from bench.peers.base import Absent
from bench.ports import Broker, running_daemon, running_mosquitto, started
from bench.report import Findings, Goal, Row, Table
from bench.runner import main, say
from bench.saturation import Rate, medians, saturated
from bench.timing import Times, percentiles
from stream_rnn.model.file import save_model

Qos: TypeAlias = Literal[0, 1]
WINDOW, SLOW_WINDOW = 400, 4
RATE_HZ = 1000.0
C_ECHO = "libmosquitto (C), echo"
SLOW = "aiomqtt, echo"  # with QoS 1 some 25 a second: its window would take a minute, and 1 kHz is beyond it
ECHOES = {
    C_ECHO: "libmosquitto",
    SLOW: "aiomqtt",
    "gmqtt, echo": "gmqtt",
    "gmqtt on uvloop, echo": "gmqtt-uvloop",
    "stream-rnn, echo": "builtin",
    "stream-rnn on uvloop, echo": "builtin-uvloop",
}
DAEMON, ON_AIOMQTT = "stream-rnn, daemon", "stream-rnn, daemon, client aiomqtt"
DAEMONS = {DAEMON: "builtin", ON_AIOMQTT: "aiomqtt"}
OTHER_WAYS = (ON_AIOMQTT, "stream-rnn, echo", "stream-rnn on uvloop, echo")
RATE_GOALS: dict[Qos, float] = {0: 0.82, 1: 0.70}
"""Predictions a second over messages of the C client's echo, at least."""
LATENCY_GOAL = 1.5
"""Its p50 over that of the C client's echo, at most."""


class Found(NamedTuple):
    """Of one client: its rate in each round, and microseconds at 1 kHz, where it keeps up."""

    rates: list[Rate]
    latencies: Times


Case: TypeAlias = tuple[Qos, str]


def measure(quick: bool) -> Findings:  # noqa: FBT001 - the one choice there is
    """Rates, processor time, latency; for QoS 0 and 1."""
    rounds, seconds = (1, 0.3) if quick else (4, 1.0)
    skipped = {name: why for name, echo in ECHOES.items() if (why := missing(echo))}
    skipped |= {ON_AIOMQTT: skipped[SLOW]} if SLOW in skipped else {}
    names = [name for name in (*ECHOES, *DAEMONS) if name not in skipped]
    found: dict[Case, Found] = {}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        model = Path(folder) / "a.safetensors"
        save_model(named("A"), model)
        try:
            broker = stack.enter_context(running_mosquitto(Path(folder), "max_queued_messages 0"))
        except Absent as why:
            return Findings(tables=(), skipped={"MQTT": str(why)})
        qualities: tuple[Qos, ...] = (0, 1)
        for qos in qualities:
            with clients(names, broker, qos, model) as ready:
                found |= {(qos, name): f for name, f in in_turns(ready, broker, qos, rounds, seconds).items()}
    return findings(found, skipped)


def missing(echo: str) -> str:
    """Why an echo cannot run here, or nothing."""
    if echo == "libmosquitto":
        return "" if ctypes.util.find_library("mosquitto") else "the library is not installed"
    package, _, loop = echo.partition("-")
    needed = [name for name in (package, loop) if name and name != "builtin"]
    return ", ".join(f"{name} is not installed" for name in needed if importlib.util.find_spec(name) is None)


class Client(NamedTuple):
    """A process that answers: what it takes, where it answers."""

    pid: int
    comes: str
    goes: str


@contextlib.contextmanager
def clients(names: list[str], broker: Broker, qos: Qos, model: Path) -> Iterator[dict[str, Client]]:
    """All of them, ready and idle."""
    with contextlib.ExitStack() as stack:
        yield {
            name: stack.enter_context(client(name, f"client{n}", broker, qos, model))
            for n, name in enumerate(names)
        }


@contextlib.contextmanager
def client(name: str, label: str, broker: Broker, qos: Qos, model: Path) -> Iterator[Client]:
    """One of them."""
    comes, goes = f"bench/{label}/s", f"back/{label}"
    if name in DAEMONS:
        goes = f"stream_rnn/{label}/predictions/s"
        settings = [f"daemon.node={label}", f"mqtt.client={DAEMONS[name]}", "mqtt.wire=f32"]
        settings += [f"mqtt.url=mqtt://127.0.0.1:{broker.port}", f"mqtt.topic=bench/{label}/{{stream}}"]
        settings += [f"mqtt.qos={qos}", f"mqtt.publish_qos={qos}"]
        answers = running_daemon(model, settings)
    else:
        order = [ECHOES[name], str(broker.port), str(qos), comes, goes]
        answers = started([sys.executable, "-m", "bench.mqtt_echoes", *order])
    with answers as process:
        yield Client(process.pid, comes, goes)


def in_turns(
    ready: Mapping[str, Client], broker: Broker, qos: Qos, rounds: int, seconds: float
) -> dict[str, Found]:
    """Load one client after another, round after round."""
    payload = samples(INPUTS).tobytes()
    rates: dict[str, list[Rate]] = {name: [] for name in ready}
    latencies: dict[str, list[float]] = {name: [] for name in ready}
    for number in range(rounds):
        say(f"bench_mqtt: QoS {qos}, round {number}")
        for name, answers in ready.items():
            slow = name == SLOW and qos == 1
            with contextlib.closing(Load(broker.port, answers.comes, answers.goes, qos, payload)) as load:
                window = SLOW_WINDOW if slow else WINDOW
                rates[name].append(saturated(load, window, seconds, answers.pid, broker.pid))
                if not slow:
                    latencies[name] += load.at_rate(RATE_HZ, int(RATE_HZ * seconds))
    return {name: Found(rates[name], np.array(latencies[name])) for name in ready}


def findings(found: Mapping[Case, Found], skipped: dict[str, str]) -> Findings:
    """Three tables and the goals."""
    rates, costs, latencies = [], [], []
    for (qos, name), (every, times) in found.items():
        case, rate = f"QoS {qos}", medians(every)
        rates.append(Row(case, name, {"median": rate.per_s}))
        costs.append(Row(case, name, {"client": rate.cpu_us, "with broker and load": rate.all_cpu_us}))
        if len(times):
            latencies.append(Row(case, name, percentiles(times)))
    tables = (
        Table(
            title="Messages a second through a broker, all on one core",
            unit="1/s",
            ours=DAEMON,
            rows=tuple(rates),
            no_peers=OTHER_WAYS,
            better="higher",
            note="An echo is a bound rather than a rival: it decodes nothing and steps nothing.",
        ),
        Table(
            title="Processor time of a message",
            unit="us",
            ours=DAEMON,
            rows=tuple(costs),
            no_peers=OTHER_WAYS,
        ),
        Table(
            title="From the time a message was due to its answer, 1 kHz over MQTT",
            unit="us",
            ours=DAEMON,
            rows=tuple(latencies),
            no_peers=OTHER_WAYS,
        ),
    )
    return Findings(tables=tables, goals=tuple(goals(found)), skipped=skipped)


def goals(found: Mapping[Case, Found]) -> Iterator[Goal]:
    """What the daemon does beside the C client's echo, where that is."""
    for qos, least in RATE_GOALS.items():
        if (qos, C_ECHO) in found:
            ours, bound = found[qos, DAEMON], found[qos, C_ECHO]
            text = f"predictions a second over messages of a C client's echo, MQTT QoS {qos}"
            each = [a.per_s / b.per_s for a, b in zip(ours.rates, bound.rates, strict=True)]  # by round
            yield Goal(text, float(np.median(each)), least, "at least")
            late = percentiles(ours.latencies)["p50"] / percentiles(bound.latencies)["p50"]
            yield Goal(f"p50 at 1 kHz over that of a C client's echo, MQTT QoS {qos}", late, LATENCY_GOAL)


if __name__ == "__main__":
    main("bench.bench_mqtt", __doc__, measure)
