"""What the daemon must be able to write, read and open, and what others must not read."""

import errno
import os
import resource
import shutil
import stat
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from stream_rnn.config.load import PREFIX
from stream_rnn.config.sections import SECRETS, Config
from stream_rnn.doctor.findings import Finding

LITTLE_BYTES = 1 << 30
OWN_DESCRIPTORS = 64  # the interpreter's, the event loop's, the broker's, the recording's


def check_permissions(config: Config, path: Path, environment: Mapping[str, str]) -> list[Finding]:
    """Look at all that a config names.

    Args:
        config: What was read.
        path: The file it was read from.
        environment: What may have said more.
    """
    findings = [check_descriptors(config)]
    if config.recording is not None:
        findings += check_recording(config.recording.path)
    for name, file, secret in _files(config):
        findings.append(check_file(name, Path(file), secret=secret))
    for section, key in SECRETS:
        if _stands_in_config(config, section, key, environment):
            findings.append(check_file(f"{section}.{key}", path, secret=True))
    return findings


def check_recording(pattern: str) -> list[Finding]:
    """Try to write where recordings go, and see how much fits.

    Args:
        pattern: `recording.path`.
    """
    path = Path(time.strftime(pattern))
    folder = path.parent
    try:
        if path.exists():
            do = "name it by its start, as %Y%m%d-%H%M%S.mcap, or move the old one away"
            return [Finding("recording", "fail", f"{path}: exists already", do)]
        with tempfile.TemporaryFile(dir=folder):
            free = shutil.disk_usage(folder).free
    except OSError as error:
        do = f"make the folder, as {describe_user()}, or set recording.path"
        return [Finding("recording", "fail", f"{folder}: cannot be written: {reason(error)}", do)]
    return [Finding("recording", "ok", f"{folder}: can be written"), disk_finding(folder, free)]


def disk_finding(folder: Path, free_bytes: int) -> Finding:
    """Judge what is left for recordings."""
    found = f"{free_bytes / 1e9:.1f} GB free at {folder}"
    if free_bytes < LITTLE_BYTES:
        return Finding("disk", "warn", found, "free some, or set recording.path to another disk")
    return Finding("disk", "ok", found)


def check_descriptors(config: Config) -> Finding:
    """Compare the connections that may come with what this process may open."""
    sections = (config.tcp, config.unix)
    needed = OWN_DESCRIPTORS + sum(s.max_connections for s in sections if s is not None)
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return descriptors_finding(needed, soft)


def descriptors_finding(needed: int, limit: int) -> Finding:
    """Judge the limit of open files; a negative one is none."""
    found = f"at most {limit}" if limit >= 0 else "no limit"
    found += f", of which {needed} may be needed"
    if 0 <= limit < needed:
        do = f"ulimit -n {2 * needed} (systemd: LimitNOFILE=), or lower max_connections"
        return Finding("open files", "warn", found, do)
    return Finding("open files", "ok", found)


def check_file(name: str, path: Path, *, secret: bool) -> Finding:
    """Open a file that the config names, and see who else may.

    Args:
        name: Its key in the config.
        path: The file.
        secret: Whether others must not read it.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
    except OSError as error:
        do = f"it must be there, and readable for {describe_user()}"
        return Finding(name, "fail", f"{path}: {reason(error)}", do)
    if secret and mode & stat.S_IROTH:
        found = f"{path}: a secret that every user of this machine can read (mode {mode:o})"
        return Finding(name, "warn", found, f"chmod o-rwx {path}")
    return Finding(name, "ok", f"{path}: readable" + (", not for everyone" if secret else ""))


def describe_user() -> str:
    """Who we are, as the system names it."""
    return f"user {os.geteuid()}" if os.geteuid() else "root"


def reason(error: OSError) -> str:
    """What the system says."""
    known = error.errno is not None and error.errno in errno.errorcode
    return os.strerror(error.errno or 0) if known else str(error)


def _files(config: Config) -> list[tuple[str, str, bool]]:
    """Each file that a key names: the key, the file, whether it is a secret."""
    found = []
    for section in ("mqtt", "tcp", "commands", "http"):
        values = getattr(config, section)
        names = [] if values is None else [n for n in values.__struct_fields__ if n.endswith("_file")]
        for name in names:
            file = getattr(values, name)
            if file is not None:
                found.append((f"{section}.{name}", file, name not in {"ca_file", "cert_file"}))
    return found


def _stands_in_config(config: Config, section: str, key: str, environment: Mapping[str, str]) -> bool:
    values = getattr(config, section)
    if values is None or getattr(values, key) is None or getattr(values, f"{key}_file") is not None:
        return False
    return f"{PREFIX}{section}__{key}".upper() not in {name.upper() for name in environment}
