"""What it costs that nothing is lost: `python -m bench.bench_durable`. Everything on one core.

A daemon serves network A over MQTT (qos 1 both ways) with and without `[state]`, and over TCP with and
without its journal; 96 float32 in a frame, without seq, which costs the same. The broker lets 20 messages of
a client be unacknowledged, as mosquitto does unless told, or 1000; the load keeps WINDOW under way over MANY
streams, so that a checkpoint has many sessions to put away.
"""

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from bench.mqtt_load import RING, WRITER, Load
from bench.networks import INPUTS, named, samples
from bench.peers.base import Absent
from bench.ports import Broker, free_port, running_daemon, running_mosquitto
from bench.report import Findings, Goal, Row, Table
from bench.runner import main, say
from bench.saturation import Rate, medians, saturated
from bench.socket_load import TcpLoad
from stream_rnn.model.file import save_model
from stream_rnn.sample import Sample
from stream_rnn.wire import CODECS

WINDOW, MANY = 400, 100
GOAL = 0.5
"""Predictions a second with [state] over those without, at least."""
PLAIN, DURABLE = "without [state]", "with [state]"
INFLIGHT = (20, 1000)


class ManyStreams(Load):
    """The load of `bench_mqtt` over many streams, so many a topic as `comes` has places."""

    def __init__(self, port: int, comes: str, goes: str, payload: bytes) -> None:
        super().__init__(port, comes.format(0), f"{goes}/#", 1, payload)
        packets = []
        for i in range(RING):
            topic = WRITER.topic(comes.format(f"{i % MANY:03d}"))
            assert topic is not None
            packets.append(WRITER.publish(topic, payload, number=i + 1))
        self._size = len(packets[0])
        self._ring = memoryview(b"".join(packets * 2))
        self._marker = goes.encode()


def measure(quick: bool) -> Findings:  # noqa: FBT001 - the one choice there is
    """Rates and processor time, in turns."""
    rounds, seconds = (1, 0.3) if quick else (5, 1.0)
    payload = CODECS["frame"].encode_sample(Sample("", None, None, samples(INPUTS)))
    found: dict[str, dict[str, list[Rate]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_model(named("A"), folder / "a.safetensors")
        sync_us = synced(folder)
        try:
            for inflight in INFLIGHT:
                say(f"bench_durable: MQTT, {inflight} unacknowledged")
                case = f"MQTT, qos 1, {inflight} unacknowledged"
                found[case] = over_mqtt(folder, inflight, payload, rounds, seconds)
        except Absent as why:
            return Findings(tables=(), skipped={"MQTT": str(why)})
        say("bench_durable: TCP")
        found["TCP, journal"] = over_tcp(folder, payload, rounds, seconds)
    return findings(found, sync_us)


def synced(folder: Path) -> float:
    """Microseconds that a sync takes here, median."""
    times = []
    with (folder / "probe").open("wb", buffering=0) as probe:
        for _ in range(50):
            probe.write(bytes(4096))
            began = time.perf_counter()
            os.fsync(probe.fileno())
            times.append((time.perf_counter() - began) * 1e6)
    return float(np.median(times))


def over_mqtt(
    folder: Path, inflight: int, payload: bytes, rounds: int, seconds: float
) -> dict[str, list[Rate]]:
    """Both ways through one broker."""
    place = folder / str(inflight)
    place.mkdir()
    limits = ("max_queued_messages 0", f"max_inflight_messages {inflight}")
    rates: dict[str, list[Rate]] = {PLAIN: [], DURABLE: []}
    with running_mosquitto(place, *limits) as broker, contextlib.ExitStack() as stack:
        pids = {
            way: stack.enter_context(daemon_of(folder, broker, node, place)) for way, node in NODES.items()
        }
        for _ in range(rounds):
            for way, node in NODES.items():
                comes, goes = f"bench/{node}/{{}}", f"stream_rnn/{node}/predictions"
                with contextlib.closing(ManyStreams(broker.port, comes, goes, payload)) as load:
                    rates[way].append(saturated(load, WINDOW, seconds, pids[way], broker.pid))
    return rates


NODES = {PLAIN: "plain", DURABLE: "state"}


@contextlib.contextmanager
def daemon_of(folder: Path, broker: Broker, node: str, place: Path) -> Iterator[int]:
    """A daemon on a broker; gives its number."""
    settings = [f"daemon.node={node}", "mqtt.wire=frame", f"mqtt.url=mqtt://127.0.0.1:{broker.port}"]
    settings += [f"mqtt.topic=bench/{node}/{{stream}}", "mqtt.qos=1", "mqtt.publish_qos=1"]
    settings += [f"mqtt.client_id={node}", "mqtt.clean_session=false"]
    settings += [f"state.path={place / 'state'}"] if node == NODES[DURABLE] else []
    with running_daemon(folder / "a.safetensors", settings) as process:
        yield process.pid


def over_tcp(folder: Path, payload: bytes, rounds: int, seconds: float) -> dict[str, list[Rate]]:
    """Both ways over a connection."""
    rates: dict[str, list[Rate]] = {PLAIN: [], DURABLE: []}
    with contextlib.ExitStack() as stack:
        ports = {}
        for way in rates:
            port = free_port()
            settings = [f"tcp.port={port}", "tcp.framing=frames"]
            if way == DURABLE:
                settings += [f"state.path={folder / 'tcp'}", "state.journal=true"]
            process = stack.enter_context(running_daemon(folder / "a.safetensors", settings))
            ports[way] = port, process.pid
        for _ in range(rounds):
            for way, (port, pid) in ports.items():
                with contextlib.closing(TcpLoad(port, payload)) as load:
                    rates[way].append(saturated(load, WINDOW, seconds, pid))
    return rates


def findings(found: Mapping[str, Mapping[str, list[Rate]]], sync_us: float) -> Findings:
    """Two tables and the goals."""
    rates, costs, goals = [], [], []
    for case, ways in found.items():
        for way, every in ways.items():
            rate = medians(every)
            rates.append(Row(case, way, {"median": rate.per_s}))
            costs.append(Row(case, way, {"daemon": rate.cpu_us, "all": rate.all_cpu_us}))
        each = [b.per_s / a.per_s for a, b in zip(ways[PLAIN], ways[DURABLE], strict=True)]  # by round
        text = f"predictions a second with [state] over those without: {case}"
        goals.append(Goal(text, float(np.median(each)), GOAL, "at least"))
    bound = "a checkpoint brings at most what may be unacknowledged"
    note = f"A sync of the disk takes {sync_us:.0f} us here, a checkpoint one or more: {bound}."
    tables = (
        Table(
            title="Predictions a second, durable and not",
            unit="1/s",
            ours=DURABLE,
            rows=tuple(rates),
            no_peers=(PLAIN,),
            better="higher",
            note=note,
        ),
        Table(
            title="Processor time of a prediction, durable and not",
            unit="us",
            ours=DURABLE,
            rows=tuple(costs),
            no_peers=(PLAIN,),
        ),
    )
    return Findings(tables=tables, goals=tuple(goals))


if __name__ == "__main__":
    main("bench.bench_durable", __doc__, measure)
