"""What a config leaves open on purpose: allowed, and said aloud each time a daemon starts."""

from collections.abc import Iterator

from stream_rnn.config.sections import Config
from stream_rnn.transports.admission import is_loopback


def insecurities(config: Config) -> Iterator[str]:
    """One line for each thing that travels unprotected, or that anyone may do."""
    mqtt, tcp, udp = config.mqtt, config.tcp, config.udp
    if mqtt is not None and not mqtt.secure and not is_loopback(mqtt.address[0]):
        host, port = mqtt.address
        what = "samples, predictions" + (" and the password" if mqtt.password is not None else "")
        yield f"mqtt {host}:{port}: without TLS {what} can be read and changed on the way; mqtts:// speaks it"
    if mqtt is not None and config.commands.mqtt and config.commands.token is None:
        yield "commands.mqtt: whoever may publish on its topic commands; commands.token asks for more"
    if tcp is not None and not is_loopback(tcp.host):
        yield f"tcp {tcp.host}:{tcp.port}: token and samples travel in the clear; a TLS tunnel hides them"
    if udp is not None and not is_loopback(udp.host):
        yield f"udp {udp.host}:{udp.port}: anyone who reaches it may send, under any address (udp.insecure)"
