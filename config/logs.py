"""Logs: one JSON object a line, or readable lines, and nothing secret in either.

Nothing here needs Django, so that gunicorn's own log lines take the same way.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

JSON, TEXT = "json", "text"
REMOVED = "[removed]"
# Shorter values are words that may stand in any sentence.
_SHORTEST_SECRET = 8

_NAMES = (
    r"authorization|code|(?:access|refresh|id)_?token|token|client_?secret|secret|secret_?key"
    r"|password|passwd|api_?key|cookie|session_?(?:id|key)|csrf\w*|payload|signature|state"
)
_SECRET_NAME = re.compile(rf"(?i)(?:[\w-]*[_-])?(?:{_NAMES})s?")
_SHAPES = [
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w\-.~+/=]+"), rf"\1 {REMOVED}"),
    (re.compile(r"\bwr_[0-9a-f]+_[\w-]+"), f"wr_{REMOVED}"),
    (re.compile(r"\beyJ[\w-]{10,}(?:\.[\w-]*){0,2}"), REMOVED),
    # https://user:password@host
    (re.compile(r"://[^/\s@]*:[^/\s@]+@"), f"://{REMOVED}@"),
    # code=…&state=…
    (re.compile(rf"(?i)\b({_NAMES})=(?!\[)[^\s&\"',;)\]}}]+"), rf"\1={REMOVED}"),
    # "refresh_token": "…" of JSON and of a printed dict
    (re.compile(rf"(?i)(['\"])({_NAMES})\1(\s*:\s*)(['\"])[^'\"]*\4"), rf"\1\2\1\3\4{REMOVED}\4"),
]


class Redactor:
    """Takes secrets out of log entries: the last line of defence, should one get that far.

    `secrets` are the values that this process knows (settings); of all others the name that they
    stand under, or their shape, gives them away.
    """

    def __init__(self, secrets: Iterable[str | None] = ()) -> None:
        known = sorted(
            {s for s in secrets if s and len(s) >= _SHORTEST_SECRET}, key=len, reverse=True
        )
        self._known = re.compile("|".join(map(re.escape, known))) if known else None

    def __call__(self, logger: WrappedLogger, name: str, event_dict: EventDict) -> EventDict:
        return {key: self.value(value, key) for key, value in event_dict.items()}

    def text(self, text: str) -> str:
        if self._known is not None:
            text = self._known.sub(REMOVED, text)
        for shape, replacement in _SHAPES:
            text = shape.sub(replacement, text)
        return text

    def value(self, value: Any, name: str = "") -> Any:
        """Return the value as it may be shown under this name."""
        if value is None or isinstance(value, bool | int | float):
            return value
        if _SECRET_NAME.fullmatch(name):
            return REMOVED
        if isinstance(value, Mapping):
            return {str(key): self.value(inner, str(key)) for key, inner in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.value(inner) for inner in value]
        return self.text(str(value))


def _without_request(logger: WrappedLogger, name: str, event_dict: EventDict) -> EventDict:
    """Django adds the request itself, which prints as its address with everything in it."""
    event_dict.pop("request", None)
    return event_dict


def logging_config(*, level: str, form: str, secrets: Iterable[str | None] = ()) -> dict[str, Any]:
    """Return the dictConfig for everything that is logged, by whichever library."""
    renderer: Processor = (
        structlog.processors.JSONRenderer()
        if form == JSON
        else structlog.dev.ConsoleRenderer(colors=False)
    )
    # Bound once, before any request: what every entry has, whoever writes it.
    before: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        _without_request,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "entry": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": before,
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    structlog.processors.format_exc_info,
                    Redactor(secrets),
                    renderer,
                ],
            }
        },
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "entry"}},
        "root": {"handlers": ["console"], "level": level},
        "loggers": {
            # It tells of every task, several times a minute.
            "django-q": {"level": "WARNING"},
            # Each line of it is one of our own request lines once more.
            "django.request": {"level": "ERROR"},
            # They bring a form of their own.
            "gunicorn.error": {"level": level, "handlers": [], "propagate": True},
        },
    }
