"""A model file that is cut short before or while it is read again: refused, and the old model serves on."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stream_rnn.cli import main
from stream_rnn.model.file import model_bytes
from stream_rnn.predictor import Predictor
from tests.broker import free_port
from tests.small import running_daemon, saved_model, small_model
from tests.tcp import Client

MODEL, OTHER = small_model(seed=1), small_model(seed=2)
TORN_WHILE_READ = """
import sys, threading
from pathlib import Path
from stream_rnn.errors import ModelError
from stream_rnn.model.file import load_model

path, whole = Path(sys.argv[1]), Path(sys.argv[1]).read_bytes()
ended = threading.Event()

def overwrite():  # in place, as `cp` does
    with path.open("r+b") as file:
        while not ended.is_set():
            file.truncate(len(whole) // 3)
            file.seek(0)
            file.write(whole)
            file.flush()

writer = threading.Thread(target=overwrite)
writer.start()
outcomes = set()
for _ in range(3000):
    try:
        outcomes.add(load_model(path).hash)
    except ModelError as error:
        outcomes.add("refused")
        assert str(path) in str(error)
ended.set()
writer.join()
outcomes.add(load_model(path).hash)
print(*sorted(outcomes, key=len))
"""


def test_file_that_is_overwritten_while_it_is_read_kills_nobody(tmp_path: Path) -> None:
    path = saved_model(tmp_path, MODEL)
    command = [sys.executable, "-c", TORN_WHILE_READ, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert set(done.stdout.split()) <= {"refused", MODEL.hash}
    assert MODEL.hash in done.stdout


def test_truncated_model_is_refused_by_a_reload_and_the_old_one_serves_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, port, sock = saved_model(tmp_path, MODEL), free_port(), tmp_path / "s"
    xs = np.random.default_rng(1).poisson(2, (4, 5)).astype(np.float32)
    options = ("--listen", f"127.0.0.1:{port}", "--set", f"commands.path={sock}")
    reload = ["ctl", "reload", "--socket", str(sock)]
    whole = model_bytes(OTHER)
    with running_daemon("--model", str(path), *options) as daemon, Client(port) as client:
        answers = [client.ask(xs[0])]
        for size in (0, 7, 100, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:size])
            assert main(reload) == 1
            assert "expected a whole safetensors file" in capsys.readouterr().err
        answers += [client.ask(x) for x in xs[1:3]]
        path.write_bytes(whole)
        assert main(reload) == 0
        last = client.ask(xs[3])
        assert daemon.stop() == 0
    assert [answer["model"] for answer in answers] == [MODEL.hash] * 3
    ys = np.array([answer["y"] for answer in answers], dtype=np.float32)
    np.testing.assert_array_equal(ys, Predictor(MODEL).run(xs[:3]))
    assert (last["model"], last["flags"]) == (OTHER.hash, ["reloaded"])
