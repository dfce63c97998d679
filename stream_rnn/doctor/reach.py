"""The way to the broker before MQTT: its name, its port, its certificate."""

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import AsyncIterator

from stream_rnn.doctor.findings import Finding
from stream_rnn.doctor.permissions import reason
from stream_rnn.errors import ConfigError
from stream_rnn.transports.mqtt_settings import MqttSettings

RESOLVE_S = CONNECT_S = 5.0
SOON_DAYS = 14.0

# OpenSSL's X509_V_ERR_ codes, and what to do about each.
CERTIFICATES = {
    9: "is the clock of this machine right? The certificate begins later",
    10: "renew the broker's certificate",
    18: "set mqtt.ca_file to the broker's certificate, if it is yours",
    19: "set mqtt.ca_file to the authority that signed the broker's certificate",
    20: "set mqtt.ca_file to the authority that signed the broker's certificate",
    21: "the broker must send the whole chain of certificates, or mqtt.ca_file must hold it",
    62: "use a name the certificate is for in mqtt.url, or put this one into the certificate",
    64: "use a name the certificate is for in mqtt.url, or put this address into the certificate",
}


async def check_reach(settings: MqttSettings) -> AsyncIterator[Finding]:
    """Resolve, connect, shake hands; the first failure is the last finding."""
    host, port = settings.address
    began = time.perf_counter()
    try:
        async with asyncio.timeout(RESOLVE_S):
            addresses = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, TimeoutError) as error:  # UnicodeError: a label longer than DNS allows
        why = getattr(error, "strerror", None) or str(error) or f"no answer within {RESOLVE_S:g} s"
        yield Finding(
            "broker", "fail", f"{host}: no such name: {why}", "check mqtt.url (mqtt.host), then the DNS"
        )
        return
    resolved_ms = (time.perf_counter() - began) * 1e3
    address = addresses[0][4][0]
    began = time.perf_counter()
    try:
        sock = await asyncio.to_thread(socket.create_connection, (host, port), CONNECT_S)
    except OSError as error:
        found = f"{host}:{port} ({address}): {reason(error)}"
        yield Finding("broker", "fail", found, _unreachable(error))
        return
    connected_ms = (time.perf_counter() - began) * 1e3
    with contextlib.closing(sock):
        found = f"{host}:{port} ({sock.getpeername()[0]}), "
        found += f"name resolved in {resolved_ms:.1f} ms, connected in {connected_ms:.1f} ms"
        yield Finding("broker", "ok", found)
        if settings.secure:
            yield await asyncio.to_thread(check_tls, sock, settings, time.time())


def check_tls(sock: socket.socket, settings: MqttSettings, now_s: float) -> Finding:
    """Shake hands over a connection, as a client that trusts what it is told to.

    Args:
        sock: Connected.
        settings: How.
        now_s: Epoch seconds.
    """
    host, port = settings.address
    began = time.perf_counter()
    try:
        context = settings.tls_context()
        assert context is not None
        with context.wrap_socket(sock, server_hostname=host) as secure:
            handshake_ms = (time.perf_counter() - began) * 1e3
            certificate, version = secure.getpeercert() or {}, secure.version()
    except ConfigError as error:
        return Finding("tls", "fail", str(error), "name a PEM file that this user may read")
    except ssl.SSLCertVerificationError as error:
        do = CERTIFICATES.get(error.verify_code, "see `openssl s_client -connect` for the whole chain")
        return Finding("tls", "fail", f"certificate not trusted: {error.verify_message}", do)
    except ssl.SSLError as error:
        if error.reason == "WRONG_VERSION_NUMBER":
            return Finding(
                "tls", "fail", f"{host}:{port} does not speak TLS", "mqtt:// instead, or the TLS port"
            )
        found = f"no handshake: {error.reason or error}"
        return Finding("tls", "fail", found, "see the broker's log: does it want a client's certificate?")
    except OSError as error:
        return Finding("tls", "fail", f"no handshake: {reason(error)}", "see the broker's log")
    days = (ssl.cert_time_to_seconds(str(certificate["notAfter"])) - now_s) / 86400
    return expiry_finding(days, f"{version}, shaken hands in {handshake_ms:.1f} ms")


def expiry_finding(days: float, found: str) -> Finding:
    """Judge how long a valid certificate lasts."""
    found = f"{found}, the certificate lasts {days:.0f} more days"
    if days < SOON_DAYS:
        return Finding("tls", "warn", found, "renew the broker's certificate")
    return Finding("tls", "ok", found)


def _unreachable(error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "start the broker there (`mosquitto -v`), or check host and port in [mqtt]"
    return "check host and port in [mqtt], and the firewalls between"
