"""Streams at rest: recordings read, written, replayed and simulated. Knows no network."""
