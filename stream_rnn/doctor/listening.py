"""Whether each way in can be opened: it is, for an instant."""

import asyncio
import errno
import os

from stream_rnn.config.sections import Config
from stream_rnn.doctor.findings import Finding
from stream_rnn.errors import TransportError
from stream_rnn.transports.datagram import UdpSettings, UnixDatagramSettings
from stream_rnn.transports.stream_settings import TcpSettings, UnixSettings
from stream_rnn.transports.unix import release


async def check_listening(config: Config) -> list[Finding]:
    """Open and close everything that the daemon would listen on."""
    findings = []
    for name, settings in _places(config):
        where = settings.path if isinstance(settings, _AT_A_PATH) else f"{settings.host}:{settings.port}"
        try:
            await _open(settings)
        except (TransportError, PermissionError) as error:  # the latter: of a folder on the way to a socket
            findings.append(Finding(name, "fail", str(error), _remedy(name, str(error))))
        else:
            findings.append(Finding(name, "ok", f"{where}: free"))
    return findings


Place = TcpSettings | UnixSettings | UdpSettings | UnixDatagramSettings
_AT_A_PATH = (UnixSettings, UnixDatagramSettings)


def _places(config: Config) -> list[tuple[str, Place]]:
    """Each section that listens, and where."""
    sections = [(n, getattr(config, n)) for n in ("tcp", "unix", "udp", "unix_datagram")]
    found: list[tuple[str, Place]] = [(name, section) for name, section in sections if section is not None]
    if config.commands.path is not None:
        found.append(("commands", UnixSettings(path=config.commands.path)))
    if config.http is not None:
        found.append(("http", TcpSettings(host=config.http.host, port=config.http.port)))
    return found


async def _open(settings: Place) -> None:
    if isinstance(settings, UdpSettings | UnixDatagramSettings):
        settings.open().close()
        if isinstance(settings, UnixDatagramSettings):
            release(settings.path)
        return
    server = await settings.listen(asyncio.Protocol)
    server.close()
    settings.close()


def _remedy(name: str, error: str) -> str:
    what = "path" if "unix" in error.partition(" ")[0] else "port"
    if os.strerror(errno.EADDRINUSE) in error:
        return f"stop whoever listens there (`ss -lptn`; is a daemon running?), or set another {name}.{what}"
    if os.strerror(errno.EACCES) in error:
        return f"set a {name}.{what} that this user may open; ports below 1024 are root's"
    if what == "path":
        return f"make its folder, or set {name}.path"
    return f"set {name}.host to an address of this machine"
