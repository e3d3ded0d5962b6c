"""A gateway on a machine whose clock is wrong: `python -m tests.support.shifted_clock SECONDS serve ...`."""

import datetime as dt
import importlib
import sys
import time
from typing import Any

_Datetime = dt.datetime


class _Kind(type):
    """Takes every moment for what it is, also those that drivers made in C."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _Datetime)


def shift_clock(seconds: float) -> None:
    """Moves what every module will take for the time of day; the monotonic clock stays. To be called before imports."""
    by = dt.timedelta(seconds=seconds)
    real_time, real_time_ns = time.time, time.time_ns

    class Shifted(_Datetime, metaclass=_Kind):
        def __new__(cls, *parts: Any, **named: Any) -> Any:  # an encoder would not know a subclass
            return _Datetime(*parts, **named)

        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> Any:
            return _Datetime.now(tz) + by

        @classmethod
        def utcnow(cls) -> Any:
            return cls.now(dt.UTC).replace(tzinfo=None)

    dt.datetime = Shifted  # type: ignore[misc]  # that is the point
    time.time = lambda: real_time() + seconds
    time.time_ns = lambda: real_time_ns() + round(seconds * 1_000_000_000)


if __name__ == "__main__":
    shift_clock(float(sys.argv.pop(1)))
    importlib.import_module("neuronetz_gateway.cli.main").main()
