import pytest

from stream_rnn.errors import ConfigError
from stream_rnn.transports import topics
from stream_rnn.transports.topics import TopicRouter, TopicTemplate


@pytest.mark.parametrize(
    ("template", "topic", "key"),
    [
        ("sensors/{stream}/samples", "sensors/a/samples", "a"),
        ("sensors/{stream}/samples", "sensors/a/b/samples", None),
        ("sensors/{stream}/samples", "sensors//samples", None),
        ("sensors/{stream}/samples", "sensors/a/other", None),
        ("sensors/{stream}/samples", "sensors/samples", None),
        ("{stream}", "a", "a"),
        ("in/{stream}", "in/ä +#"[:4], "ä"),
        ("emg/wrist", "emg/wrist", "emg/wrist"),
        ("emg/+", "emg/wrist", "emg/wrist"),
        ("emg/#", "emg/wrist/left", "emg/wrist/left"),
        ("emg/+", "eeg/wrist", None),
    ],
)
def test_a_template_names_the_stream_of_a_topic(template: str, topic: str, key: str | None) -> None:
    assert TopicTemplate(template).key(topic) == key


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (
            "$share/g/in/{stream}",
            "expected no shared subscription: it splits one stream over several workers",
        ),
        ("in/{stream}/{stream}", "expected {stream} once, as a whole level"),
        ("in/x{stream}", "expected {stream} once, as a whole level"),
        ("in/{key}", "expected {stream} once, as a whole level"),
        ("in/+/{stream}", "expected no wildcard beside {stream}: streams would mix"),
        ("in/#/x", "expected # only as the whole last level"),
        ("in/x#", "expected # only as the whole last level"),
        ("in/x+", "expected + only as a whole level"),
        ("", "expected 1 to 65535 bytes without NUL"),
    ],
)
def test_a_bad_template_is_refused_with_its_reason(template: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TopicTemplate(template)
    assert str(caught.value) == f"topic {template!r}: {message}"


def test_a_router_takes_the_first_template_that_matches() -> None:
    router = TopicRouter(["out/{stream}", "#"])
    assert [router.key(topic) for topic in ("out/a", "status", "out/a")] == ["a", "status", "a"]


def test_a_router_forgets_topics_beyond_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "MAX_KNOWN_TOPICS", 2)
    router = TopicRouter(["in/{stream}"])
    assert [router.resolve(b"in/%c" % name)[0] for name in b"abcab"] == list("abcab")
    assert len(router._raw) <= 2


def test_a_router_keeps_no_long_topic() -> None:
    router = TopicRouter(["in/{stream}"])
    for number in range(1000):
        key = f"{number:x}" * 20_000
        assert router.resolve(b"in/" + key.encode()) == (key, f"in/{key}")
    assert router._raw == {}
