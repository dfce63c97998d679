"""What the reason codes of MQTT 5 mean, in words; those of 3.1.1 are translated by who reads them."""

# Answers to CONNECT that no retry changes: protocol version, client id, user or password, not authorised,
# banned, authentication method (MQTT 5, table 3.2.2-2).
FINAL_REASONS = frozenset({132, 133, 134, 135, 138, 140})
KEEPALIVE_TIMEOUT = 141
TAKEN_OVER = 142  # another client connected by our name

NAMES = {
    0: "success",
    4: "disconnect with will message",
    16: "no matching subscribers",
    128: "unspecified error",
    129: "malformed packet",
    130: "protocol error",
    131: "implementation specific error",
    132: "unsupported protocol version",
    133: "client identifier not valid",
    134: "bad user name or password",
    135: "not authorized",
    136: "server unavailable",
    137: "server busy",
    138: "banned",
    139: "server shutting down",
    140: "bad authentication method",
    141: "keep alive timeout",
    142: "session taken over",
    143: "topic filter invalid",
    144: "topic name invalid",
    145: "packet identifier in use",
    146: "packet identifier not found",
    147: "receive maximum exceeded",
    148: "topic alias invalid",
    149: "packet too large",
    150: "message rate too high",
    151: "quota exceeded",
    152: "administrative action",
    153: "payload format invalid",
    154: "retain not supported",
    155: "qos not supported",
    156: "use another server",
    157: "server moved",
    158: "shared subscriptions not supported",
    159: "connection rate exceeded",
    160: "maximum connect time",
    161: "subscription identifiers not supported",
    162: "wildcard subscriptions not supported",
}


def reason_name(code: int) -> str:
    """What a code means."""
    return NAMES.get(code) or f"reason code {code}"
