"""What modules of the gateway log, whatever was set up for logging by then."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import structlog
from structlog.testing import LogCapture


@contextmanager
def captured_logs(*modules: ModuleType) -> Iterator[list[Any]]:
    """The entries of these modules, as they come. structlog's own capture sees nothing of a logger that was used while
    a command had set logging up for itself, as a test of the same worker may have done."""
    before, capture = structlog.get_config(), LogCapture()
    for module in modules:
        vars(module)["_log"].__dict__.pop("bind", None)  # what it keeps once it was used with caching
    structlog.configure(
        processors=[capture],
        wrapper_class=structlog.make_filtering_bound_logger(0),
        cache_logger_on_first_use=False,
    )
    try:
        yield capture.entries
    finally:
        structlog.configure(**before)
