"""The way of a message over MQTT, beside bare echoes and a C client: `python -m bench.bench_mqtt`.

Everything on one core: mosquitto, the client, and the load. Payloads of 384 bytes (96 float32). Saturation
keeps WINDOW messages under way; latency is open-loop at 1 kHz, from the time a message was due. A daemon
decodes, steps network A, encodes and publishes; an echo only sends back what came. Rounds alternate.
"""

import argparse
import contextlib
import importlib.util
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bench.mqtt_load import Load, cpu_ns
from bench.networks import NETWORKS, network
from stream_rnn.model.file import save_model
from tests.broker import running_mosquitto

INPUTS = 96
WINDOW = 400
ECHOES = ("libmosquitto", "aiomqtt", "gmqtt", "gmqtt-uvloop", "builtin", "builtin-uvloop")
DAEMONS = {"daemon builtin": "builtin", "daemon aiomqtt": "aiomqtt"}
BROKER = "allow_anonymous true\nmax_queued_messages 0\n"
C_ECHO = "libmosquitto"
HEAD = ("msg/s", "CPU us/msg", "with broker and load", "of C", "1 kHz p50 us", "of C", "p99 us")
SHOWN = {"per_s": 0, "cpu_us": 1, "all_cpu_us": 1}


def processor() -> str:
    """The machine's processor, as it names itself."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()


def versions(*packages: str) -> dict[str, str]:
    """Of Python and these packages, where they are installed."""
    found = {"Python": platform.python_version()}
    for package in packages:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def on_one_core() -> int:
    """Pin this process, and so all it starts, to the last core it may use; give its number."""
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    return core


class Client:
    """A process that answers, ready.

    Attributes:
        comes: Topic it takes.
        goes: Topic of its answers.
        pid: Its process.
    """

    def __init__(self, name: str, port: int, qos: Literal[0, 1], model: Path) -> None:
        label = name.replace(" ", "-")
        self.comes, self.goes = f"bench/{label}/s", f"back/{label}"
        python, word = [sys.executable, "-m"], "ready"
        if name in DAEMONS:
            self.goes = f"stream_rnn/{label}/predictions/s"
            settings = {
                "daemon.node": label,
                "mqtt.client": DAEMONS[name],
                "mqtt.wire": "f32",
                "mqtt.qos": qos,
                "mqtt.publish_qos": qos,
            }
            command = [*python, "stream_rnn", "run", "--model", str(model)]
            command += ["--broker", f"mqtt://127.0.0.1:{port}", "--topic", f"bench/{label}/{{stream}}"]
            command += [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        else:
            command = [*python, "bench.mqtt_echoes", name, str(port), str(qos), self.comes, self.goes]
        self._process = subprocess.Popen(  # our own
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.pid = self._process.pid
        assert self._process.stdout is not None
        said = []
        for line in self._process.stdout:
            said.append(line)
            if f" {word} " in f" {line.strip()} ":
                return
        raise RuntimeError(f"{name} ended: {''.join(said)}")

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


@contextlib.contextmanager
def clients(names: list[str], port: int, qos: Literal[0, 1], model: Path) -> Iterator[dict[str, Client]]:
    """All of them, ready and idle."""
    started: dict[str, Client] = {}
    try:
        for name in names:
            started[name] = Client(name, port, qos, model)
        yield started
    finally:
        for client in started.values():
            client.close()


def installed(name: str) -> bool:
    """Whether an echo can run here."""
    package = {"gmqtt": "gmqtt", "aiomqtt": "aiomqtt"}.get(name.partition("-")[0])
    needs_uvloop = name.endswith("uvloop") and importlib.util.find_spec("uvloop") is None
    return (package is None or importlib.util.find_spec(package) is not None) and not needs_uvloop


def measure(rounds: int = 5, seconds: float = 1.5, only: list[str] | None = None) -> dict[str, Any]:
    """Every row: messages a second, CPU microseconds a message, latency percentiles; for each qos."""
    names = [name for name in (*ECHOES, *DAEMONS) if installed(name) and (only is None or name in only)]
    payload = np.random.default_rng(1).standard_normal(INPUTS).astype(np.float32).tobytes()
    rows: dict[str, Any] = {name: {} for name in names}
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "a.safetensors"
        save_model(network(*NETWORKS["A LSTM50x3+Dense1"]), model)
        with running_mosquitto(Path(folder), BROKER) as broker:
            qualities: tuple[Literal[0, 1], ...] = (0, 1)
            for qos in qualities:
                with clients(names, broker.port, qos, model) as started:
                    found = {name: ([], [], [], []) for name in names}  # type: ignore[var-annotated]
                    for _ in range(rounds):
                        for name, client in started.items():
                            load = Load(broker.port, client.comes, client.goes, qos, payload)
                            slow = (
                                name == "aiomqtt" and qos == 1
                            )  # 25 a second: its window would take a minute
                            pids = (client.pid, broker.pid, os.getpid())
                            before = [cpu_ns(pid) for pid in pids]
                            count, per_s = load.saturate(4 if slow else WINDOW, seconds)
                            spent = [
                                (cpu_ns(p) - b) / 1000 / count for p, b in zip(pids, before, strict=True)
                            ]
                            found[name][0].append(per_s)
                            found[name][1].append(spent[0])
                            found[name][2].append(sum(spent))
                            if not slow:
                                found[name][3].extend(load.at_rate(1000.0, int(1000 * seconds)))
                            load.close()
                    for name in names:
                        rows[name][f"qos{qos}"] = _summary(*found[name])
    return {
        "machine": processor(),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "versions": versions("numpy", "numba", "uvloop", "gmqtt", "aiomqtt", "paho-mqtt"),
        "rounds": rounds,
        "seconds": seconds,
        "rows": rows,
    }


def _summary(
    per_s: list[float], cpu_us: list[float], all_cpu_us: list[float], latencies: list[float]
) -> dict[str, float]:
    found = {
        "per_s": float(np.median(per_s)),
        "cpu_us": float(np.median(cpu_us)),
        "all_cpu_us": float(np.median(all_cpu_us)),
    }
    if latencies:
        found |= {f"p{p}_us": float(np.percentile(latencies, p)) for p in (50, 99)}
    return found


def table(found: dict[str, Any]) -> str:
    """The rows as Markdown.

    Ratios are to the C client of the same run. That of the rate is told in processor time, of client, broker
    and load together: on a core that is theirs alone it is the ratio of the rates, and others on the core
    change it little.
    """
    lines = []
    for qos in ("qos0", "qos1"):
        head = [qos.replace("qos", "QoS "), *HEAD]
        lines += ["", f"| {' | '.join(head)} |"]
        lines.append("|---|---|---|---|---|---|---|---|")
        reference = found["rows"].get(C_ECHO, {}).get(qos, {})
        for name, row in found["rows"].items():
            figures = row[qos]
            of_c = reference["all_cpu_us"] / figures["all_cpu_us"] if reference else float("nan")
            cells = [f"{figures[key]:.{digits}f}" for key, digits in SHOWN.items()] + [f"{of_c:.2f}"]
            if "p50_us" in figures:
                p50_of_c = figures["p50_us"] / reference["p50_us"] if reference else float("nan")
                cells += [f"{figures['p50_us']:.0f}", f"{p50_of_c:.2f}", f"{figures['p99_us']:.0f}"]
            else:
                cells += [""] * 3
            what = "daemon: decode, step A, encode" if name in DAEMONS else "echo"
            lines.append(f"| {name.removeprefix('daemon ')} ({what}) | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--only", action="append")
    args = parser.parse_args()
    core = on_one_core()
    found = measure(args.rounds, args.seconds, args.only)
    of = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    print(f"{found['date']}, {found['machine']}, one core (number {core}), {of}: python -m {__spec__.name}")
    print(table(found))


if __name__ == "__main__":
    main()
