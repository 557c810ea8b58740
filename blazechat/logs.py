"""Configures logging: readable lines on a terminal, JSON lines otherwise. Tokens are redacted."""

import logging
import re
import sys
from typing import Literal

import structlog
from structlog.types import EventDict, Processor, WrappedLogger

SECRET_PATTERN = re.compile(
    r"(?i)((?:[?&]|\b)(?:token|access_token|refresh_token|password)=|\bbearer\s+|/hooks/(?:reply/)?)"
    r"[^\s&\"']+"
)
"""Tokens and passwords in query strings and headers, and tokens in the paths of incoming webhooks."""


def redact(text: str) -> str:
    """Return `text` with each secret replaced by "…"."""
    return SECRET_PATTERN.sub(r"\1…", text)


class RedactingFilter(logging.Filter):
    """Redacts secrets in the log records of libraries: uvicorn logs paths with their query."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        redacted = redact(text)
        if redacted != text:
            record.msg, record.args = redacted, ()
        return True


def redact_server_logs() -> None:
    """Install the redaction on the loggers of uvicorn and websockets, whatever handlers they have."""
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi", "websockets"):
        logger = logging.getLogger(name)
        if not any(isinstance(installed, RedactingFilter) for installed in logger.filters):
            logger.addFilter(RedactingFilter())


def configure(level: str, style: Literal["auto", "text", "json"]) -> None:
    """Write the logs of BlazeChat and of all libraries to standard error, in one style.

    `level` is the name of a level, e.g. "info". The style "auto" is "text" on a terminal, else "json".
    """
    is_text = style == "text" or (style == "auto" and sys.stderr.isatty())
    shared = _shared_processors(is_text)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=_rendering_processors(is_text)
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "alembic"):
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def _shared_processors(is_text: bool) -> list[Processor]:
    """Return the processors for the records of BlazeChat and of libraries."""
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if is_text else "iso", utc=not is_text),
        _redact_values,
    ]


def _rendering_processors(is_text: bool) -> list[Processor]:
    remove_meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if not is_text:
        format_traceback = structlog.processors.format_exc_info
        return [remove_meta, format_traceback, structlog.processors.JSONRenderer()]
    # Plain tracebacks: structlog's default ones print local variables, which include passwords.
    plain = structlog.dev.plain_traceback
    return [
        remove_meta,
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain),
    ]


def _redact_values(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = redact(value)
    return event
