"""What a daemon owes those who run it: Prometheus reads it, systemd hears it, supervisors can ask it."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
from configparser import ConfigParser
from http.client import HTTPConnection
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from stream_rnn.config.load import Settings, load_config
from stream_rnn.daemon.serving import Serving
from stream_rnn.errors import ConfigError, TransportError
from stream_rnn.latency.histogram import Histogram
from stream_rnn.operations.endpoint import Endpoint
from stream_rnn.operations.exposition import EDGES_S, buckets_of
from stream_rnn.operations.logs import log_line
from stream_rnn.operations.notify import Notifier
from tests.broker import free_port
from tests.small import DaemonProcess, saved_model, small_model

UNIT = Path(__file__).parents[1] / "tools" / "stream-rnn.service"


@given(values=st.lists(st.integers(0, 20 * 10**9), max_size=200))
def test_latency_buckets_count_what_does_not_exceed_their_edge(values: list[int]) -> None:
    histogram = Histogram()
    histogram.record_many(values)
    counted = dict(buckets_of(histogram))
    assert counted.pop("+Inf") == len(values)
    for edge in EDGES_S:
        least, most = (sum(v <= edge * 1e9 * (1 + slack) for v in values) for slack in (0, 1e-3))
        assert least <= counted[repr(edge)] <= most


class Http:
    """Asks a daemon over HTTP."""

    def __init__(self, port: int) -> None:
        self.port = port

    def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        content = answer.read().decode()
        connection.close()
        return answer.status, content

    def samples(self) -> dict[tuple[str, ...], float]:
        """Every value by name and label values."""
        families = text_string_to_metric_families(self.get("/metrics")[1])
        return {
            (s.name, *(v for _, v in sorted(s.labels.items()))): s.value for f in families for s in f.samples
        }


@pytest.fixture
def config(tmp_path: Path) -> Path:
    saved_model(tmp_path, small_model())
    path = tmp_path / "c.toml"
    path.write_text(f'[model]\npath = "model.safetensors"\n[tcp]\nport = {free_port()}\n')
    return path


def tcp_port(config: Path) -> int:
    found = re.search(r"port = (\d+)", config.read_text())
    assert found is not None
    return int(found[1])


def step(config: Path, *lines: str) -> None:
    """Send lines over TCP and wait for their answers."""
    with socket.create_connection(("127.0.0.1", tcp_port(config)), timeout=10) as client:
        client.sendall("".join(f"{line}\n" for line in lines).encode())
        with client.makefile() as answers:
            for _ in lines:
                answers.readline()


def test_numbers_and_health_over_http(config: Path) -> None:
    port = free_port()
    config.write_text(config.read_text() + f"[http]\nport = {port}\n[daemon]\nmetrics_s = 0.05\n")
    daemon, http = DaemonProcess(str(config)), Http(port)
    try:
        daemon.wait_for("ready")
        step(config, *["[1,2,3,4,5]"] * 20, "{", "[1]")
        assert http.get("/healthz") == (200, '{"status": "ok"}')
        assert http.get("/readyz") == (200, '{"status": "ok"}')
        assert [http.get(path, method)[0] for path, method in (("/", "GET"), ("/metrics", "POST"))] == [
            404,
            405,
        ]
        assert http.get("/metrics", "HEAD") == (200, "")
        while (values := http.samples())[("stream_rnn_latency_seconds_count", "all", "step")] < 20:
            pass
        assert values["stream_rnn_predictions_total",] == 20
        assert values["stream_rnn_samples_total", "stepped"] == 20
        assert values["stream_rnn_refused_total", "syntax"] == 1
        assert values["stream_rnn_refused_total", "width"] == 1
        assert values["stream_rnn_transport_total", "received", "tcp"] == 22
        assert values["stream_rnn_transport_up", "tcp"] == 1
        assert values["stream_rnn_latency_seconds_bucket", "all", "+Inf", "step"] == 20
        assert 0 < values["stream_rnn_latency_seconds_sum", "all", "step"] < 10
        assert (
            "stream_rnn_model_info",
            "5 inputs, gru 7, lstm 6, 2 linear outputs",
            small_model().hash,
        ) in values
        assert ("process_resident_memory_bytes",) in values
    finally:
        assert daemon.stop() == 0


async def test_what_is_open_is_ready_once_all_of_it_can_be_reached() -> None:
    opened = {name: asyncio.Event() for name in ("tcp", "http", "mqtt")}
    async with asyncio.TaskGroup() as tasks:
        serving = Serving(tasks, lambda *_: None)
        for name, event in opened.items():
            serving.begin(name, asyncio.Event().wait(), event.wait, lenient=False)
        ready = tasks.create_task(serving.ready())
        for name in ("http", "tcp"):
            opened[name].set()
            await asyncio.sleep(0)
        assert not ready.done()
        await serving.close(["mqtt"])  # what is closed before it could be reached is not waited for
        await ready
        serving.cancel()


def test_what_cannot_come_in_makes_it_unready(config: Path) -> None:
    port, broker = free_port(), free_port()
    more = f'[http]\nport = {port}\ntoken = "s3cret"\n[mqtt]\nurl = "mqtt://127.0.0.1:{broker}"\n'
    config.write_text(config.read_text() + more)
    daemon, http = DaemonProcess(str(config)), Http(port)
    try:
        daemon.wait_for("listening", "http")
        daemon.wait_for("retrying")
        assert http.get("/readyz") == (503, '{"status": "no", "reason": "mqtt: not connected"}')
        assert http.get("/healthz")[0] == 200
        assert http.get("/metrics")[0] == 401
        assert http.get("/metrics", Authorization="Bearer wrong")[0] == 401
        assert http.get("/metrics", Authorization="Bearer s3cret")[0] == 200
    finally:
        assert daemon.stop() == 0
    assert "s3cret" not in "\n".join(daemon.lines)


def test_numbers_are_not_shown_to_a_network_without_a_token() -> None:
    flags: Settings = {"model": {"path": "m"}, "tcp": {"port": 1}, "http": {"host": "0.0.0.0"}}  # noqa: S104 - refused
    with pytest.raises(ConfigError, match=r"http\.token: expected one, since http\.host '0\.0\.0\.0'"):
        load_config(None, {}, flags)


async def test_http_port_in_use_is_told_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        endpoint = Endpoint(
            "127.0.0.1",
            port,
            None,
            metrics=lambda: bytes,
            healthy=lambda: "",
            ready=lambda: "",
            report=lambda *_: None,
        )
        with pytest.raises(TransportError) as raised:
            await endpoint.serve()
    assert str(raised.value) == f"http 127.0.0.1:{port}: cannot listen: address already in use"


class Manager:
    """The receiving end of NOTIFY_SOCKET, as systemd has it."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.settimeout(20)

    def hear(self) -> dict[str, str]:
        """The next datagram."""
        lines = self.socket.recv(4096).decode().split("\n")
        return dict(line.split("=", 1) for line in lines)

    def until(self, name: str) -> dict[str, str]:
        while name not in (heard := self.hear()):
            pass
        return heard


@pytest.fixture(params=["pathname", "abstract"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "notify") if request.param == "pathname" else f"@stream-rnn-test-{os.getpid()}"


def test_systemd_hears_when_it_is_ready_reloads_and_stops(
    config: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = Manager(address)
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    monkeypatch.setenv("WATCHDOG_USEC", "100000")
    with manager.socket:
        daemon = DaemonProcess(str(config))
        try:
            heard = manager.until("READY")
            assert heard["STATUS"] == f"model {small_model().hash} over tcp"
            step(config, "[1,2,3,4,5]")  # ready means that samples can come in
            assert manager.until("WATCHDOG") == {"WATCHDOG": "1"}
            assert manager.until("WATCHDOG") == {"WATCHDOG": "1"}
            daemon.process.send_signal(signal.SIGHUP)
            assert int(manager.until("RELOADING")["MONOTONIC_USEC"]) > 0
            assert manager.until("READY")["READY"] == "1"
            daemon.process.send_signal(signal.SIGTERM)
            assert manager.until("STOPPING") == {"STOPPING": "1"}
            assert daemon.wait() == 0
        finally:
            daemon.process.kill()


async def test_a_loop_that_does_not_turn_starves_the_watchdog(tmp_path: Path) -> None:
    manager = Manager(str(tmp_path / "n"))
    with manager.socket:
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "n"), "WATCHDOG_USEC": "20000"})
        watching = asyncio.create_task(notifier.watch(), name="watch")
        await asyncio.sleep(0)
        assert manager.hear() == {"WATCHDOG": "1"}
        manager.socket.settimeout(0.05)  # longer than the watchdog's time, and the loop stands still
        with pytest.raises(TimeoutError):
            manager.hear()
        watching.cancel()


def test_nobody_is_told_where_there_is_no_manager() -> None:
    assert Notifier({"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}, pid=2).watchdog_s == 0
    Notifier({}).ready("nobody hears")
    Notifier({"NOTIFY_SOCKET": "/nobody/there"}).stopping()


def test_log_line_for_people_and_for_machines() -> None:
    t_ns = 1_700_000_000_123_456_789
    assert re.fullmatch(r"\d\d:\d\d:\d\d ready        tcp", log_line("ready", "tcp", t_ns, "text"))
    assert json.loads(log_line("refused_width", 'a "b"', t_ns, "json")) == {
        "time": "2023-11-14T22:13:20.123Z",
        "level": "warning",
        "kind": "refused_width",
        "detail": 'a "b"',
    }
    levels = [json.loads(log_line(kind, "", 0, "json"))["level"] for kind in ("ready", "failed", "retrying")]
    assert levels == ["info", "error", "warning"]


def test_every_line_of_a_daemon_that_logs_json_is_json(config: Path) -> None:
    command = [sys.executable, "-m", "stream_rnn", "run", str(config), "--log", "json", "--check"]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stderr
    assert [json.loads(line)["kind"] for line in said.splitlines()] == ["model", "compiled", "fine"]


def test_unit_file_says_what_the_daemon_does() -> None:
    unit = ConfigParser(strict=False, interpolation=None, comment_prefixes=("#",))
    unit.optionxform = str  # type: ignore[assignment, method-assign]  # systemd minds the case
    unit.read_string(UNIT.read_text(encoding="utf-8"))
    service = unit["Service"]
    assert (service["Type"], service["NotifyAccess"]) == ("notify", "main")
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert "stream-rnn run" in service["ExecStart"]
    assert float(service["WatchdogSec"]) > 0
    assert service["RestartPreventExitStatus"] == "2"
    assert "MemoryDenyWriteExecute" not in service  # numba writes the code it runs
    assert "NUMBA_CACHE_DIR=%C/stream-rnn" in service["Environment"]


@pytest.mark.parametrize("edge", EDGES_S)
def test_bucket_edges_are_one_two_and_five(edge: float) -> None:
    assert np.round(edge / 10 ** np.floor(np.log10(edge) + 1e-9), 9) in {1, 2, 5}
