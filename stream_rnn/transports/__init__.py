"""Bytes in, bytes out: MQTT, TCP, memory, and an embedded broker. No numpy, no models, no samples."""
