"""The README's first line, in an environment that has nothing: what a new user does."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run(*command: str, folder: Path, home: Path) -> "subprocess.CompletedProcess[str]":
    """Run in a folder that is not the checkout, with an empty home."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("NUMBA_", "PYTHON", "COV"))
    }
    environment = kept | {"HOME": str(home)}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240, check=False
    )


@pytest.mark.slow
def test_package_installs_into_an_empty_environment_and_decodes_there(tmp_path: Path) -> None:
    copy = tmp_path / "checkout"
    ignored = shutil.ignore_patterns(".*", "tests", "build", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, copy, ignore=ignored)
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    programs, home = tmp_path / "venv" / "bin", tmp_path / "home"
    home.mkdir()
    environment = os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    pip = [str(programs / "python"), "-m", "pip", "install", "--quiet", str(copy)]
    subprocess.run(pip, check=True, env=environment, timeout=240, stdin=subprocess.DEVNULL)
    program = str(programs / "stream-rnn")
    helped = run(program, "--help", folder=tmp_path, home=home)
    assert helped.returncode == 0
    assert "watch a simulated or recorded motor cortex being decoded" in " ".join(helped.stdout.split())
    demo = run(program, "demo", "--seconds", "5", folder=tmp_path, home=home)
    assert demo.returncode == 0, demo.stderr
    assert "samples decoded by model" in demo.stdout
