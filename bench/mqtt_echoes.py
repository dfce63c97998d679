"""Bare echoes for `bench_mqtt`, each a process: `python -m bench.mqtt_echoes NAME PORT QOS IN OUT`.

What comes on the topic IN goes out on OUT, unchanged. `ready` is printed once that is so.
"""

import asyncio
import ctypes
import ctypes.util
import socket
import sys
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np

NODELAY = (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
OPT_TCP_NODELAY = 11  # of enum mosq_opt_t
INFLIGHT = 1000  # as ours


class Order(NamedTuple):
    """Where to echo what."""

    port: int
    qos: Literal[0, 1]
    comes: str
    goes: str


def ready() -> None:
    """Tell who started us."""
    print("ready", flush=True)


def libmosquitto(order: Order) -> None:
    """The C library: its callback is compiled by numba, so that no Python runs once a message."""
    import numba  # noqa: PLC0415  # slow to import, and only this needs it
    from numba import types  # noqa: PLC0415

    name = ctypes.util.find_library("mosquitto")
    assert name is not None, "libmosquitto1 is not installed"
    library = ctypes.CDLL(name)
    size, number = ctypes.c_size_t, ctypes.c_int
    prototype = ctypes.CFUNCTYPE(number, size, size, size, number, size, number, number)
    publish = prototype(ctypes.cast(library.mosquitto_publish, ctypes.c_void_p).value or 0)
    goes = np.frombuffer(order.goes.encode() + b"\0", dtype=np.uint8)
    topic, qos = int(goes.ctypes.data), int(order.qos)

    # struct mosquitto_message: int mid; char *topic; void *payload; int payloadlen; int qos; bool retain
    pointer = types.CPointer(types.int64)  # type: ignore[no-untyped-call]  # numba has no types

    @numba.cfunc(types.void(types.uintp, types.uintp, pointer))
    def on_message(client: int, _user: int, message: Any) -> None:  # noqa: ANN401  # a pointer
        fields = numba.carray(message, 4)  # type: ignore[attr-defined]  # it is there
        publish(client, 0, topic, fields[3] & 0xFFFFFFFF, fields[2], qos, 0)

    library.mosquitto_new.restype = ctypes.c_void_p
    library.mosquitto_lib_init()
    client = ctypes.c_void_p(library.mosquitto_new(None, True, None))  # noqa: FBT003  # C has no names
    library.mosquitto_int_option(client, OPT_TCP_NODELAY, 1)
    library.mosquitto_max_inflight_messages_set(client, INFLIGHT)
    library.mosquitto_message_callback_set(client, ctypes.c_void_p(on_message.address))
    assert library.mosquitto_connect(client, b"127.0.0.1", order.port, 60) == 0
    assert library.mosquitto_subscribe(client, None, order.comes.encode(), qos) == 0
    for _ in range(10):
        library.mosquitto_loop(client, 20, 1)
    ready()
    library.mosquitto_loop_forever(client, -1, 1)


async def builtin(order: Order) -> None:
    """Our client without a model."""
    from stream_rnn.transports.base import Message  # noqa: PLC0415  # each echo imports only what it needs
    from stream_rnn.transports.mqtt import MqttTransport  # noqa: PLC0415
    from stream_rnn.transports.mqtt_settings import MqttSettings  # noqa: PLC0415

    transport = MqttTransport(MqttSettings(port=order.port, topic=order.comes, qos=order.qos))

    def deliver(messages: list[Message]) -> None:
        for message in messages:
            transport.publish(order.goes, message.payload, qos=order.qos)

    serving = asyncio.create_task(transport.serve(deliver), name="serve")
    await transport.ready()
    ready()
    await serving


async def aiomqtt(order: Order) -> None:
    """As its README shows it."""
    import aiomqtt  # noqa: PLC0415

    async with aiomqtt.Client("127.0.0.1", order.port) as client:
        await client.subscribe(order.comes, qos=order.qos)
        ready()
        async for message in client.messages:
            await client.publish(order.goes, message.payload, qos=order.qos)


async def gmqtt(order: Order) -> None:
    """As its README shows it; acknowledged when answered, as ours."""
    import gmqtt  # type: ignore[import-not-found,import-untyped,unused-ignore]  # noqa: PLC0415

    client = gmqtt.Client(order.goes, optimistic_acknowledgement=False)
    subscribed = asyncio.Event()

    def on_message(_client: object, _topic: str, payload: bytes, _qos: int, _said: object) -> int:
        client.publish(order.goes, payload, qos=order.qos)
        return 0

    async def on_kept_message(*message: Any) -> int:  # noqa: ANN401  # as above
        return on_message(*message)

    client.on_message = on_kept_message if order.qos else on_message  # only a coroutine's end acknowledges
    client.on_subscribe = lambda *_: subscribed.set()
    await client.connect("127.0.0.1", order.port, version=gmqtt.constants.MQTTv311)
    client.subscribe(order.comes, qos=order.qos)
    await subscribed.wait()
    ready()
    await asyncio.Event().wait()


def on_uvloop(echo: Callable[[Order], Any]) -> Callable[[Order], None]:
    """Run it on uvloop."""

    def run(order: Order) -> None:
        import uvloop  # noqa: PLC0415

        uvloop.run(echo(order))

    return run


def on_asyncio(echo: Callable[[Order], Any]) -> Callable[[Order], None]:
    """Run it on asyncio's own loop."""
    return lambda order: asyncio.run(echo(order))


ECHOES: dict[str, Callable[[Order], None]] = {
    "libmosquitto": libmosquitto,
    "builtin-uvloop": on_uvloop(builtin),
    "builtin": on_asyncio(builtin),
    "gmqtt-uvloop": on_uvloop(gmqtt),
    "gmqtt": on_asyncio(gmqtt),
    "aiomqtt": on_asyncio(aiomqtt),
}


if __name__ == "__main__":
    _, name, port, qos, comes, goes = sys.argv
    ECHOES[name](Order(int(port), 1 if qos == "1" else 0, comes, goes))
