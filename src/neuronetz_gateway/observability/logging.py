"""One JSON object a line on standard error, for everything that the process says."""

import logging
import sys
from typing import Any, BinaryIO

import orjson
import structlog

_UVICORN_UNFINISHED = "ASGI callable returned without completing response."


def configure_logging(level: str, stream: BinaryIO | None = None) -> None:
    """Send structlog and the standard library alike through one JSON renderer.

    Tracebacks name files, lines and messages, never local variables: a frame may hold a key or a prompt.
    """
    processors: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*processors, _render],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.BytesLoggerFactory(file=stream or sys.stderr.buffer),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *processors],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _render_text],
        )
    )
    handler.addFilter(_is_news)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING if level != "debug" else logging.INFO)


def _is_news(record: logging.LogRecord) -> bool:
    """Uvicorn reports each answer that the relay left unfinished on purpose (DESIGN §6); the access log has it."""
    return record.getMessage() != _UVICORN_UNFINISHED


def _render(_: Any, __: str, event: structlog.typing.EventDict) -> bytes:
    return orjson.dumps(event, default=repr)


def _render_text(logger: Any, name: str, event: structlog.typing.EventDict) -> str:
    return _render(logger, name, event).decode()
