"""Logs: readable lines on a terminal, JSON lines otherwise; never a token."""

import logging
import re
import sys
from typing import Literal

import structlog
from structlog.types import EventDict, WrappedLogger

SECRETS = re.compile(
    r"(?i)((?:[?&]|\b)(?:token|access_token|refresh_token|password)=|\bbearer\s+|/hooks/(?:reply/)?)"
    r"[^\s&\"']+"
)
"""Tokens as they appear in query strings, headers, and the paths that webhooks are posted to."""


def without_secrets(text: str) -> str:
    return SECRETS.sub(r"\1…", text)


class NoSecrets(logging.Filter):
    """Blots out tokens in what other libraries log; uvicorn logs paths with their query."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        cleaned = without_secrets(text)
        if cleaned != text:
            record.msg, record.args = cleaned, ()
        return True


def guard() -> None:
    """Keep tokens out of the servers' loggers, however those are configured."""
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi", "websockets"):
        logger = logging.getLogger(name)
        if not any(isinstance(each, NoSecrets) for each in logger.filters):
            logger.addFilter(NoSecrets())


def configure(level: str, style: Literal["auto", "text", "json"]) -> None:
    """Send our logs and those of all libraries to standard error, in one style."""
    text = style == "text" or (style == "auto" and sys.stderr.isatty())
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if text else "iso", utc=not text),
        _clean,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    last: list[structlog.types.Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if text:
        # Plain tracebacks: the pretty ones print local variables, passwords among them.
        plain = structlog.dev.plain_traceback
        last.append(structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain))
    else:
        last += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=last))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name, least in (("uvicorn", logging.WARNING), ("alembic", logging.WARNING)):
        logging.getLogger(name).setLevel(max(least, root.level))


def _clean(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = without_secrets(value)
    return event
