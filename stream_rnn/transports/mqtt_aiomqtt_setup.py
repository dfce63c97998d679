"""How an aiomqtt client is made from our settings, and what its errors mean."""

import ssl

import aiomqtt
import paho.mqtt.client as paho
from aiomqtt.exceptions import MqttCodeError, MqttConnectError
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from stream_rnn.transports.base import Publication
from stream_rnn.transports.mqtt_link import (
    ANSWER_S,
    INFLIGHT,
    NODELAY,
    RECEIVE,
    LostError,
    lost_by,
    no_answer,
)
from stream_rnn.transports.mqtt_reasons import FINAL_REASONS, KEEPALIVE_TIMEOUT, TAKEN_OVER
from stream_rnn.transports.mqtt_settings import MqttSettings


def new_client(
    settings: MqttSettings, will: Publication | None, tls: ssl.SSLContext | None
) -> aiomqtt.Client:
    """A client that is not connected yet."""
    host, port = settings.address
    new = settings.version == "5"
    properties = None
    if new and not settings.clean_session:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho forgot
        properties.SessionExpiryInterval = settings.session_expiry_s
    return aiomqtt.Client(
        host,
        port,
        username=settings.username,
        password=settings.password,
        identifier=settings.client_id,
        protocol=aiomqtt.ProtocolVersion.V5 if new else aiomqtt.ProtocolVersion.V311,
        will=None if will is None else aiomqtt.Will(*will),
        clean_session=None if new else settings.clean_session,
        clean_start=settings.clean_session if new else paho.MQTT_CLEAN_START_FIRST_ONLY,
        properties=properties,
        timeout=ANSWER_S,
        keepalive=settings.keepalive_s,
        max_queued_outgoing_messages=settings.max_outgoing,
        max_inflight_messages=INFLIGHT if not new else None,
        tls_context=tls,
        socket_options=[NODELAY, RECEIVE],
    )


def explain(exc: aiomqtt.MqttError) -> LostError:
    """What the end of a connection means, in a few words."""
    origin = exc.__cause__ or exc.__context__  # aiomqtt keeps only the text of what paho raised
    if isinstance(origin, OSError):
        return lost_by(origin)
    if isinstance(exc, MqttConnectError):
        if isinstance(exc.rc, ReasonCode):
            return LostError(str(exc.rc).lower(), final=exc.rc.value in FINAL_REASONS, refused=True)
        return LostError(str(exc), refused=True)
    if str(exc) == "Operation timed out":
        return no_answer()
    code = origin.rc if isinstance(origin, MqttCodeError) else None
    if isinstance(code, ReasonCode):
        closed = code.value != KEEPALIVE_TIMEOUT  # that one paho gives itself
        return LostError(str(origin), closed=closed, taken_over=code.value == TAKEN_OVER)
    return LostError(str(origin or exc), closed=code == paho.MQTT_ERR_CONN_LOST)
