"""The daemon's config: TOML, environment and flags into one frozen value. Every error names the key.

A flag goes before `STREAM_RNN_SECTION__KEY` in the environment, that before the file, that before defaults.
"""

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from stream_rnn.config.interval import check_interval
from stream_rnn.config.sections import SECRETS, SOURCES, Config, section_types
from stream_rnn.config.state import check_state
from stream_rnn.errors import ConfigError
from stream_rnn.transports.mqtt_settings import HIDDEN

PREFIX = "STREAM_RNN_"

Settings: TypeAlias = dict[str, dict[str, Any]]
"""Values by section and key, as a TOML file gives them."""


def load_config(path: Path | None, environment: Mapping[str, str], flags: Settings) -> Config:
    """Read a config.

    Args:
        path: TOML file, or None for none.
        environment: Where `STREAM_RNN_SECTION__KEY` is looked up.
        flags: What the command line says, by section and key.

    Raises:
        ConfigError: A file that cannot be read, an unknown key, or a value that cannot be.
    """
    settings: Settings = {}
    subject = "config" if path is None else str(path)
    if path is not None:
        _merge(settings, _read(path))
        _anchor(settings, path.parent)
    _merge(settings, _from_environment(environment))
    _merge(settings, flags)
    _check_names(settings, subject)
    for section, key in SECRETS:
        _read_secret(settings.get(section, {}), section, key, subject)
    try:
        config = msgspec.convert(settings, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{subject}: {_dotted(str(error))}") from None
    except ConfigError as error:
        raise ConfigError(f"{subject}: {error}") from None
    _check_sources(config, subject)
    return config


def _check_sources(config: Config, subject: str) -> None:
    sections = {name: getattr(config, name) for name in SOURCES}
    wires = {name: getattr(s, "codec", None) or s.wire for name, s in sections.items() if s is not None}
    try:
        check_interval(config.interval, wires)
        most = config.stream.max_streams
        check_state(config.state, config.mqtt, wires, config.inbox.policy, config.stream, most)
    except ConfigError as error:
        raise ConfigError(f"{subject}: {error}") from None
    if not any(sections.values()):
        raise ConfigError(f"{subject}: expected a way in, one of [{'], ['.join(SOURCES)}], got none")
    for name, section in sections.items():
        if getattr(section, "answer", "sender") != "sender" and config.mqtt is None:
            raise ConfigError(
                f"{subject}: {name}.answer: expected a section [mqtt] for {section.answer!r}, got none"
            )


def shown(config: Config) -> dict[str, Any]:
    """The config as plain values, for people and recordings: of a secret, only whether there is one."""
    values: dict[str, Any] = msgspec.to_builtins(config)
    for section, key in SECRETS:
        inside = values.get(section) or {}
        if inside.get(key) is not None:
            inside[key] = HIDDEN if inside[f"{key}_file"] is None else None
    return values


def _anchor(settings: Settings, folder: Path) -> None:
    """Take the paths in a file as relative to it."""
    certificates = [("mqtt", name) for name in ("ca_file", "cert_file", "key_file")]
    secrets = [(section, f"{key}_file") for section, key in SECRETS]
    paths = [("model", "path"), ("recording", "path"), ("state", "path"), *certificates, *secrets]
    for section, key in paths:
        values = settings.get(section, {})
        if isinstance(values, dict) and isinstance(values.get(key), str):
            values[key] = str(folder / values[key])


def _read_secret(values: dict[str, Any], section: str, key: str, subject: str) -> None:
    """Read a secret from the file that holds it."""
    path = values.get(f"{key}_file")
    if not isinstance(path, str):
        return
    name = f"{subject}: {section}.{key}_file"
    if values.get(key) is not None:
        raise ConfigError(f"{name}: expected either {key} or {key}_file, got both")
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise ConfigError(f"{name} {path!r}: expected a file that can be read, got {reason}") from None
    if not lines or not lines[0]:
        raise ConfigError(f"{name} {path!r}: expected a secret on the first line, got none")
    values[key] = lines[0]


def _read(path: Path) -> Settings:
    try:
        settings: Settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise ConfigError(f"{path}: expected a config file, got {reason}") from None
    except ValueError as error:  # no TOML, or a number of thousands of digits
        raise ConfigError(f"{path}: expected TOML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{path}: expected TOML, got endless nesting") from None
    return settings


def _from_environment(environment: Mapping[str, str]) -> Settings:
    settings: Settings = {}
    for name, raw in sorted(environment.items()):
        section, found, key = name.removeprefix(PREFIX).lower().partition("__")
        if name.startswith(PREFIX) and found:
            # a secret is what it says: 0123 and "x" are no number and no quoted text
            settings.setdefault(section, {})[key] = raw if (section, key) in SECRETS else parse_value(raw)
    return settings


def parse_value(raw: str) -> Any:  # noqa: ANN401 - whatever TOML can say
    """A value as TOML would read it; what is no TOML is text."""
    try:
        return tomllib.loads(f"value = {raw}")["value"]
    except (ValueError, RecursionError):  # no TOML, a number of thousands of digits, endless nesting
        return raw


def _merge(into: Settings, other: Settings) -> None:
    for section, values in other.items():
        if isinstance(values, dict) and isinstance(into.get(section), dict):
            into[section].update(values)
        else:
            into[section] = dict(values) if isinstance(values, dict) else values


def _check_names(settings: Settings, subject: str) -> None:
    types = section_types()
    for section, values in settings.items():
        if section not in types:
            raise ConfigError(f"{subject}: [{section}]: unknown section{_nearest(section, types)}")
        if not isinstance(values, dict):
            raise ConfigError(
                f"{subject}: {section}: expected a section [{section}], got {type(values).__name__}"
            )
        for key in values:
            known = types[section].__struct_fields__
            if key not in known:
                raise ConfigError(f"{subject}: {section}.{key}: unknown key{_nearest(key, known)}")


def _nearest(name: str, known: Mapping[str, object] | tuple[str, ...]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; expected one of {', '.join(known)}"


def _dotted(error: str) -> str:
    """`Expected int - at $.mqtt.port` as `mqtt.port: expected int`."""
    message, _, where = error.partition(" - at `$")
    key = where.rstrip("`").lstrip(".")
    message = message[0].lower() + message[1:]
    return f"{key}: {message}" if key else message
