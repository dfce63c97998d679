import asyncio
import multiprocessing
import socket

import aiomqtt
import pytest

from stream_rnn.errors import ConfigError, TransportError
from stream_rnn.transports.broker import run_broker, serve_broker

V311 = aiomqtt.ProtocolVersion.V311


async def echo_500(port: int) -> list[bytes]:
    got: list[bytes] = []
    async with aiomqtt.Client("127.0.0.1", port, protocol=V311) as client:
        await client.subscribe("in/a", qos=1)
        async with asyncio.timeout(20):
            for number in range(500):
                await client.publish("in/a", b"%d" % number, qos=1)
            async for message in client.messages:
                assert isinstance(message.payload, bytes)
                got.append(message.payload)
                if len(got) == 500:
                    break
    return got


async def test_the_embedded_broker_passes_messages_in_order() -> None:
    async with serve_broker() as port:
        assert await echo_500(port) == [b"%d" % number for number in range(500)]


async def test_the_embedded_broker_keeps_retained_messages() -> None:
    async with serve_broker() as port, aiomqtt.Client("127.0.0.1", port, protocol=V311) as client:
        await client.publish("status", b"online", qos=1, retain=True)
        await client.subscribe("status")
        async with asyncio.timeout(5):
            message = await anext(aiter(client.messages))
        assert (message.payload, message.retain) == (b"online", True)


async def test_a_host_that_others_reach_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        async with serve_broker("0.0.0.0"):  # noqa: S104  # the very thing that is refused
            pass
    text = "broker host: expected a loopback address, got '0.0.0.0': anybody may log in"
    assert str(caught.value) == text


async def test_a_port_in_use_is_told_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(TransportError) as caught:
            async with serve_broker(port=port):
                pass
    assert str(caught.value) == f"broker 127.0.0.1:{port}: cannot listen: Address already in use"


def test_a_broker_process_tells_its_port_and_ends_with_its_pipe() -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=run_broker, args=(0, theirs), daemon=True)
    process.start()
    theirs.close()
    assert ours.poll(30)
    with socket.create_connection(("127.0.0.1", ours.recv()), timeout=5):
        pass
    ours.close()
    process.join(10)
    assert process.exitcode == 0
    process.close()
