"""Topic templates: which MQTT filter to subscribe to, and which stream a topic belongs to. No I/O."""

from stream_rnn.errors import ConfigError

PLACEHOLDER = "{stream}"
MAX_TOPIC_BYTES = 65535  # MQTT sends the length in 16 bits
MAX_KNOWN_TOPICS = 1 << 17  # bounds the memory of a router against made-up topics
MAX_REMEMBERED = 256  # bytes: a longer topic is looked at anew each time


class TopicTemplate:
    """One subscription: `sensors/{stream}/samples`, or a plain filter whose key is the whole topic.

    >>> template = TopicTemplate("sensors/{stream}/samples")
    >>> template.filter, template.key("sensors/left-hand/samples")
    ('sensors/+/samples', 'left-hand')

    Raises:
        ConfigError: The template is no valid filter, has more than one placeholder, has wildcards beside
            it (streams would mix), or is a shared subscription (a stream would be split over workers).
    """

    def __init__(self, template: str) -> None:
        _check(template)
        self.template = template
        self.filter = template.replace(PLACEHOLDER, "+")
        self._named = PLACEHOLDER in template
        self._prefix, _, self._suffix = template.partition(PLACEHOLDER)

    def key(self, topic: str) -> str | None:
        """Give the stream key of a topic, or None when the topic is not of this template."""
        if not self._named:
            return topic if matches(self.filter, topic) else None
        if not (topic.startswith(self._prefix) and topic.endswith(self._suffix)):
            return None
        key = topic[len(self._prefix) : len(topic) - len(self._suffix)]
        return key if key and "/" not in key else None


class TopicRouter:
    """Several templates, and what each topic met so far means.

    Args:
        templates: What is subscribed to.
        reserved: How topics begin that name no stream, whatever a template says.
    """

    def __init__(self, templates: list[str], reserved: str | None = None) -> None:
        self.templates = [TopicTemplate(template) for template in templates]
        self._reserved = reserved
        self._raw: dict[bytes, tuple[str | None, str]] = {}

    def resolve(self, topic: bytes) -> tuple[str | None, str]:
        """Give key and topic of a topic's bytes; the topic is empty where they are no UTF-8."""
        try:
            return self._raw[topic]
        except KeyError:
            pass
        if len(self._raw) >= MAX_KNOWN_TOPICS:
            self._raw.clear()
        try:
            text = topic.decode()
        except UnicodeDecodeError:  # a careless broker let it pass
            text = ""
        found = (self.key(text) if text else None, text)
        if len(topic) <= MAX_REMEMBERED:
            self._raw[topic] = found
        return found

    def key(self, topic: str) -> str | None:
        """Give the key by the first template that matches, or None."""
        if self._reserved is not None and topic.startswith(self._reserved):
            return None
        keys = (template.key(topic) for template in self.templates)
        return next((key for key in keys if key is not None), None)


def matches(wanted: str, topic: str) -> bool:
    """Whether a topic is one of those that a filter subscribes to.

    >>> matches("a/+/#", "a/b"), matches("#", "$SYS/uptime")
    (True, False)
    """
    if topic.startswith("$") and wanted[:1] in {"+", "#"}:  # the broker's own topics are asked for by name
        return False
    levels, asked = topic.split("/"), wanted.split("/")
    if asked[-1] == "#":
        asked.pop()
        levels = levels[: len(asked)]
    return len(asked) == len(levels) and all(a in {"+", b} for a, b in zip(asked, levels, strict=True))


def _check(template: str) -> None:
    levels = template.split("/")
    if template.startswith(("$share/", "$queue/")):
        raise ConfigError(
            f"topic {template!r}: expected no shared subscription: it splits one stream over several workers"
        )
    if not template or "\0" in template or len(template.encode()) > MAX_TOPIC_BYTES:
        raise ConfigError(f"topic {template[:40]!r}: expected 1 to {MAX_TOPIC_BYTES} bytes without NUL")
    if "#" in template.removesuffix("#") or (template.endswith("#") and levels[-1] != "#"):
        raise ConfigError(f"topic {template!r}: expected # only as the whole last level")
    if any("+" in level and level != "+" for level in levels):
        raise ConfigError(f"topic {template!r}: expected + only as a whole level")
    if "{" in template or "}" in template:
        _check_placeholder(template, levels)


def _check_placeholder(template: str, levels: list[str]) -> None:
    named = [level for level in levels if "{" in level or "}" in level]
    if named != [PLACEHOLDER]:
        raise ConfigError(f"topic {template!r}: expected {PLACEHOLDER} once, as a whole level")
    if "+" in levels or "#" in levels:
        raise ConfigError(f"topic {template!r}: expected no wildcard beside {PLACEHOLDER}: streams would mix")
