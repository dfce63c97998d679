"""What every test needs: compiled kernels that belong to the source, and the real recordings.

The cache of compiled kernels on disk does not see a changed flag or compiler: after such an edit, tests would
pass on old code. So the cache directory is named after everything the kernels are made of: unchanged code is
reused, changed code is compiled anew. It is set before anything imports numba; child processes inherit it.
"""

import ast
import hashlib
import os
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parent


def kernel_sources(root: Path) -> list[Path]:
    """The modules with kernels, and every module of ours they import: its constants are compiled in."""
    marks = ("@kernel\n", "@hot\n", "@part\n")
    sources = {path: path.read_text(encoding="utf-8") for path in root.glob("stream_rnn/**/*.py")}
    waiting = {path for path, source in sources.items() if any(mark in source for mark in marks)}
    found: set[Path] = set()
    while waiting:
        path = waiting.pop()
        found.add(path)
        modules = _imported(ast.parse(path.read_text(encoding="utf-8")))
        candidates = {
            root / f"{m.replace('.', '/')}{end}" for m in modules for end in (".py", "/__init__.py")
        }
        waiting |= {path for path in candidates if path.is_file()} - found
    return sorted(found)


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (node.module, *(f"{node.module}.{name.name}" for name in node.names))
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


def kernel_key(root: Path) -> str:
    """A name for the kernels as they are now: their sources, Python, numba and its settings."""
    digest = hashlib.sha256(f"{sys.version} numba {version('numba')}".encode())
    for path in kernel_sources(root):
        digest.update(f"\0{path.relative_to(root)}\0".encode() + path.read_bytes())
    for name, value in sorted(os.environ.items()):
        if name.startswith("NUMBA_") and name != "NUMBA_CACHE_DIR":
            digest.update(f"\0{name}={value}".encode())
    return digest.hexdigest()[:16]


assert "numba" not in sys.modules, "numba was imported before conftest.py could name its cache"
os.environ["NUMBA_CACHE_DIR"] = str(ROOT / ".numba_cache" / kernel_key(ROOT))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Give the folder of the real recordings: STREAM_RNN_SHARED_DATA, or ../shared/data by the checkout."""
    folder = Path(os.environ.get("STREAM_RNN_SHARED_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(
            f"no real recordings: {folder} is absent and STREAM_RNN_SHARED_DATA names no other folder"
        )
    return folder
