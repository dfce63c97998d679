"""How our own MQTT client begins: a connected socket, and the first packet."""

import asyncio
import socket

from stream_rnn.transports.base import Publication
from stream_rnn.transports.mqtt_link import NODELAY, RECEIVE
from stream_rnn.transports.mqtt_packets import Writer
from stream_rnn.transports.mqtt_settings import MqttSettings


async def dial(host: str, port: int) -> socket.socket:
    """A connected socket; of several addresses the first that answers.

    Raises:
        OSError: None does; it says why the last one did not.
    """
    loop = asyncio.get_running_loop()
    refusal: OSError | None = None
    for family, kind, protocol, _, address in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)  # noqa: FBT003  # the standard library's
            sock.setsockopt(*NODELAY)
            sock.setsockopt(*RECEIVE)
            await loop.sock_connect(sock, address)
        except OSError as error:
            sock.close()
            refusal = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise refusal or OSError(f"{host} has no address")


def hello(settings: MqttSettings, will: Publication | None, writer: Writer, max_bytes: int) -> bytes:
    """The CONNECT of a connection.

    Args:
        settings: Who we are.
        will: Published by the broker when we vanish.
        writer: Of the version that is spoken.
        max_bytes: The largest packet we take.
    """
    return writer.connect(
        client_id=settings.client_id or "",
        clean=settings.clean_session,
        keepalive_s=settings.keepalive_s,
        username=settings.username,
        password=settings.password,
        will=will,
        session_expiry_s=0 if settings.clean_session else settings.session_expiry_s,
        max_bytes=max_bytes,
    )
