"""Says at once that Postgres will not answer, so that not everybody has to wait to find out."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from enum import Enum, auto

import structlog

from neuronetz_gateway.db.group_commit import BatchDataError, NotCommittedError, UnknownOutcomeError
from neuronetz_gateway.errors import StalePrincipalError, UnavailableError

_log = structlog.get_logger(__name__)
_FAILURES = 2  # in a row: one alone is a session that was ended, which the next attempt does not feel
_FIRST_PROBE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 0.5
_AWAY = (NotCommittedError, UnknownOutcomeError, UnavailableError)


class _State(Enum):
    CLOSED = auto()
    OPEN = auto()
    TRYING = auto()  # the probe was answered, so that one caller at a time may try


class Breaker:
    """Opens when an attempt takes over `patience_seconds`, or two in a row fail; closes when one succeeds in time.

    While it is open `probe` is tried in the background, which costs no caller anything. Once that is answered in time
    one caller at a time is let through, since a probe cannot show everything: a disk may be full for real rows alone.
    """

    def __init__(self, probe: Callable[[], Awaitable[object]], *, name: str, patience_seconds: float) -> None:
        self._probe = probe
        self._name = name
        self._patience_seconds = patience_seconds
        self._state = _State.CLOSED
        self._failures = 0
        self._overdue = 0
        self._pause_seconds = _FIRST_PROBE_SECONDS
        self._trial_until = 0.0
        self._prober: asyncio.Task[None] | None = None
        self._told = False

    @property
    def open(self) -> bool:
        """Whether nobody is let through."""
        return self._state is _State.OPEN

    def check(self) -> None:
        """Returns where a call is worth trying; else raises UnavailableError, at once."""
        if self._state is _State.CLOSED:
            return
        now = asyncio.get_running_loop().time()
        if self._state is _State.OPEN or now < self._trial_until:
            raise UnavailableError("The database is not available.")
        self._trial_until = now + self._patience_seconds  # whoever was let through may leave before it has tried

    @contextmanager
    def attempt(self, *, may_take_long: bool = False) -> Iterator[None]:
        """Watches over one call, whose own errors pass through it; one that may take long is not judged by its time."""
        overdue = False

        def late() -> None:
            nonlocal overdue
            overdue = True
            self._overdue += 1
            self._shut("too slow")

        seconds = math.inf if may_take_long else self._patience_seconds
        timer = asyncio.get_running_loop().call_later(seconds, late)
        try:
            yield
        except (BatchDataError, StalePrincipalError):  # which only Postgres can tell
            self._answered(in_time=not overdue)
            raise
        except _AWAY as error:
            self._failed(error)
            raise
        else:
            self._answered(in_time=not overdue)
        finally:
            timer.cancel()
            self._overdue -= overdue

    def suspect(self) -> None:
        """A call that may take long took too long: asks the probe, which decides."""
        if self._state is _State.CLOSED:
            self._begin_probing()

    async def aclose(self) -> None:
        """Ends the probing."""
        prober = self._prober
        if prober is not None:
            prober.cancel()
            await asyncio.wait([prober])

    def _answered(self, *, in_time: bool) -> None:
        if not in_time:
            return
        self._failures = 0
        if self._state is _State.CLOSED:
            return
        self._state = _State.CLOSED
        self._pause_seconds = _FIRST_PROBE_SECONDS
        if self._prober is not None:
            self._prober.cancel()
        if self._told:
            self._told = False
            _log.warning("postgres_is_back", lane=self._name)

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        if self._failures >= _FAILURES or self._state is not _State.CLOSED:
            self._shut(f"{type(error).__name__}: {error}")

    def _shut(self, reason: str) -> None:
        self._state = _State.OPEN
        if not self._told:  # once an outage, however often somebody has to try in it
            self._told = True
            _log.warning("postgres_is_away", lane=self._name, reason=reason)
        self._begin_probing()

    def _begin_probing(self) -> None:
        if self._prober is None:
            self._prober = asyncio.get_running_loop().create_task(self._go_on_probing(), name=f"probe {self._name}")

    async def _go_on_probing(self) -> None:
        try:
            while True:
                await asyncio.sleep(self._pause_seconds)
                self._pause_seconds = min(self._pause_seconds * 2, _LONGEST_PAUSE_SECONDS)
                if not self._overdue and await self._is_there():
                    break
                self._shut("the probe failed")
            if self._state is _State.OPEN:
                self._state, self._trial_until = _State.TRYING, 0.0
            else:  # a suspicion was wrong
                self._pause_seconds = _FIRST_PROBE_SECONDS
        finally:
            self._prober = None

    async def _is_there(self) -> bool:
        try:
            async with asyncio.timeout(self._patience_seconds):
                await self._probe()
        except (*_AWAY, BatchDataError, TimeoutError):
            return False
        except Exception:  # noqa: BLE001 - with the probing over, nobody would ever be let through again
            _log.exception("postgres_probe_failed", lane=self._name)
            return False
        return True
