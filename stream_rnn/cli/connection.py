"""How the commands that talk to a running daemon reach its broker."""

import argparse
import os

from stream_rnn.transports.mqtt_settings import MqttSettings


def configure_connection(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    parser.add_argument(
        "--broker", default="mqtt://127.0.0.1:1883", metavar="URL", help="(mqtt://127.0.0.1:1883)"
    )
    parser.add_argument(
        "--username", help="user name at the broker; the password is STREAM_RNN_MQTT__PASSWORD"
    )
    parser.add_argument(
        "--ca-file",
        metavar="FILE",
        help="authority that signed the broker's certificate; ours is STREAM_RNN_MQTT__CERT_FILE, _KEY_FILE",
    )
    parser.add_argument(
        "--topic", default="stream_rnn/decoder", help="the daemon's topics (stream_rnn/decoder)"
    )


def connection(args: argparse.Namespace, **more: object) -> MqttSettings:
    """The settings that the options make, and more of them.

    Raises:
        ConfigError: They cannot be.
    """
    password = os.environ.get("STREAM_RNN_MQTT__PASSWORD") if args.username else None
    values = {"url": args.broker, "username": args.username, "password": password, "ca_file": args.ca_file}
    values |= {name: os.environ.get(f"STREAM_RNN_MQTT__{name.upper()}") for name in ("cert_file", "key_file")}
    return MqttSettings(**{**values, **more})
