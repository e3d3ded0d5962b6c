"""What the fake Ollama saw of its callers."""

import asyncio
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tests.support.fake_ollama_paths import Kind, Match


class Ended(StrEnum):
    COMPLETED = "completed"  # the whole answer was handed to the socket
    CALLER_LEFT = "caller_left"
    FAULTED = "faulted"  # the script's fault came first, or the fake was stopped


@dataclass(slots=True, eq=False)
class Seen:
    """One request, as it arrived on the wire; times are those of the loop's clock, in seconds."""

    number: int
    connection: int
    raw_head: bytes
    method: str
    target: str
    headers: list[tuple[str, str]]  # as sent, in order
    match: Match
    arrived_at: float
    received: bytearray = field(default_factory=bytearray)
    body_complete: bool = False
    fields: dict[str, Any] = field(default_factory=dict)  # the body as Go's decoder reads it
    status: int = 0
    prompt_tokens: int = 0
    tokens_generated: int = 0
    records_sent: int = 0
    bytes_sent: int = 0  # payload only: neither heads nor chunk framing
    ended: Ended | None = None
    closed_at: float | None = None
    _digest: Any = field(default_factory=hashlib.sha256, repr=False)

    @property
    def body(self) -> bytes:
        return bytes(self.received)

    @property
    def json(self) -> Any:
        """The body as Python reads it; None where it is no JSON."""
        try:
            return json.loads(self.received)
        except ValueError:
            return None

    @property
    def model(self) -> str:
        """The name that Ollama would run, in the spelling sent."""
        value = self.fields.get("model") or self.match.parameter
        return value if isinstance(value, str) else ""

    @property
    def route(self) -> str:
        """The route that was reached, such as `/api/chat`; empty when none was."""
        return self.match.route.path if self.match.route else ""

    @property
    def kind(self) -> Kind | None:
        return self.match.route.kind if self.match.route else None

    @property
    def sent_digest(self) -> str:
        """SHA-256 of the payload sent so far, in hex."""
        return str(self._digest.hexdigest())

    def header(self, name: str) -> str | None:
        """The first value of a header, in any case of its name."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def note_payload(self, payload: bytes) -> None:
        self.bytes_sent += len(payload)
        self._digest.update(payload)

    def as_json(self) -> dict[str, Any]:
        """The log line of this request; the body is text with broken bytes replaced."""
        return {
            "number": self.number,
            "connection": self.connection,
            "method": self.method,
            "target": self.target,
            "headers": self.headers,
            "route": self.route,
            "kind": self.kind,
            "model": self.model,
            "body": self.received.decode(errors="replace"),
            "arrived_at": self.arrived_at,
            "status": self.status,
            "prompt_tokens": self.prompt_tokens,
            "tokens_generated": self.tokens_generated,
            "records_sent": self.records_sent,
            "bytes_sent": self.bytes_sent,
            "sent_digest": self.sent_digest,
            "ended": self.ended,
            "closed_at": self.closed_at,
        }


type Log = Callable[[dict[str, Any]], None]


@dataclass(slots=True, eq=False)
class Witness:
    """Everything seen, with waiting for it to come true."""

    log: Log | None = None
    requests: list[Seen] = field(default_factory=list)
    malformed: list[bytes] = field(default_factory=list)  # what did not parse as HTTP
    connections_open: int = 0
    connections_accepted: int = 0
    bytes_received: int = 0
    unfinished: int = 0  # of every kind
    in_flight: int = 0  # inference only, so that a readiness probe does not count
    max_in_flight: int = 0
    _waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = field(default_factory=list)

    def arrived(self, seen: Seen) -> None:
        self.requests.append(seen)
        self.unfinished += 1
        self.in_flight += seen.kind is Kind.INFERENCE
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        self._write("arrived", seen)
        self.changed()

    def end(self, seen: Seen, ended: Ended, now: float) -> None:
        """Close the book on a request; the first end that is told holds."""
        if seen.ended is not None:
            return
        seen.ended, seen.closed_at = ended, now
        self.unfinished -= 1
        self.in_flight -= seen.kind is Kind.INFERENCE
        self._write("ended", seen)
        self.changed()

    def changed(self) -> None:
        """Wake whoever waits for what has just become true."""
        for predicate, future in tuple(self._waiting):
            if not future.done() and predicate():
                future.set_result(None)

    async def wait_for(self, predicate: Callable[[], bool], timeout_seconds: float) -> None:
        """Return once the predicate holds.

        Raises:
            TimeoutError: it did not, in that time; the message says what was seen instead.
        """
        if predicate():
            return
        future = asyncio.get_running_loop().create_future()
        waiting = (predicate, future)
        self._waiting.append(waiting)
        try:
            async with asyncio.timeout(timeout_seconds):
                await future
        except TimeoutError as error:
            raise TimeoutError(f"not within {timeout_seconds} s; the fake saw {self}") from error
        finally:
            self._waiting.remove(waiting)

    def __str__(self) -> str:
        last = [f"{seen.method} {seen.target} {seen.status} {seen.ended}" for seen in self.requests[-5:]]
        return f"{len(self.requests)} requests, {self.in_flight} in flight, the last: {last}"

    def _write(self, event: str, seen: Seen) -> None:
        if self.log is not None:
            self.log({"event": event} | seen.as_json())
