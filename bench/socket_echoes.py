"""Our socket transports without a model: `python -m bench.socket_echoes tcp|udp PORT`, for bench_sockets."""

import asyncio
import sys

from stream_rnn.daemon.loop import run_until_done
from stream_rnn.transports.base import Message
from stream_rnn.transports.datagram import DatagramServer, UdpSettings
from stream_rnn.transports.stream_settings import TcpSettings
from stream_rnn.transports.stream_socket import StreamSocketServer


def deliver(messages: list[Message]) -> None:
    """Send back what came."""
    for message in messages:
        if message.reply is not None:
            message.reply(message.payload)


async def serve(kind: str, port: int) -> None:
    """Echo for ever."""
    server: StreamSocketServer | DatagramServer
    if kind == "tcp":
        server = StreamSocketServer(TcpSettings(port=port, framing="frames"))
    else:
        server = DatagramServer(UdpSettings(port=port))
    serving = asyncio.create_task(server.serve(deliver), name="serve")
    await server.ready()
    print("ready", flush=True)
    await serving


if __name__ == "__main__":
    run_until_done(serve(sys.argv[1], int(sys.argv[2])))
