"""All checks in their order: the machine, then what a config asks of it."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from stream_rnn.config.load import load_config
from stream_rnn.config.sections import Config
from stream_rnn.demo import demo_model
from stream_rnn.doctor.broker import check_broker
from stream_rnn.doctor.clock import check_clock
from stream_rnn.doctor.findings import Finding
from stream_rnn.doctor.listening import check_listening
from stream_rnn.doctor.model import check_model, check_residuals
from stream_rnn.doctor.permissions import check_permissions
from stream_rnn.doctor.processor import check_processor
from stream_rnn.doctor.versions import check_versions
from stream_rnn.errors import ConfigError


async def examine(path: Path | None, environment: Mapping[str, str]) -> AsyncIterator[Finding]:
    """Give each finding as soon as it is made.

    Args:
        path: The daemon's config; None looks at the machine alone, with the model of the demo.
        environment: What else may say something of the config.
    """
    yield check_versions()
    for finding in check_processor(environment):
        yield finding
    for finding in await check_clock():
        yield finding
    config, finding_of_config = read_config(path, environment)
    yield finding_of_config
    if config is None or path is None:
        findings, _ = check_model(demo_model(), "the model of the demo", environment)
        for finding in findings:
            yield finding
        return
    findings, predictor = check_model(Path(config.model.path), config.model.path, environment)
    if config.interval is not None and predictor is not None:
        findings.append(check_residuals(predictor))
    findings += check_permissions(config, path, environment)
    findings += await check_listening(config)
    for finding in findings:
        yield finding
    if config.mqtt is not None:
        async for finding in check_broker(config, None if predictor is None else predictor.inputs):
            yield finding


def read_config(path: Path | None, environment: Mapping[str, str]) -> tuple[Config | None, Finding]:
    """Read a config, and say how that went.

    Args:
        path: TOML file, or None for none.
        environment: Where `STREAM_RNN_SECTION__KEY` is looked up.
    """
    if path is None:
        do = "`stream-rnn doctor CONFIG` looks at model, files, ports and broker too"
        return None, Finding("config", "skip", "none given: only the machine is looked at", do)
    try:
        config = load_config(path, environment, {})
    except ConfigError as error:
        do = "mend it; docs/config.md and `stream-rnn run --example` explain every key"
        return None, Finding("config", "fail", str(error), do)
    return config, Finding("config", "ok", f"{path}: node {config.daemon.topic}")
