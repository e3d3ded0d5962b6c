"""Writing a piece of an answer within the call that brought it, without a turn of the event loop."""

from typing import Protocol

from starlette.types import Scope

_KEY = "neuronetz.direct_writer"


class _Flow(Protocol):
    @property
    def write_paused(self) -> bool: ...


class _Transport(Protocol):
    def write(self, data: bytes) -> None: ...


class DirectWriter:
    """Writes pieces of a chunked answer between its head and its end; ASGI's send does everything else.

    Through send each piece would have to wake up the task of its request, then all steps of the chain within it.
    """

    __slots__ = ("_flow", "_transport")

    def __init__(self, transport: _Transport, flow: _Flow) -> None:
        self._transport, self._flow = transport, flow

    def write(self, piece: bytes) -> bool:
        """Write a piece, which is not empty. False, nothing written, while the caller takes none: then send waits."""
        if self._flow.write_paused:
            return False
        self._transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        return True


def offer(scope: Scope, writer: DirectWriter) -> None:
    scope[_KEY] = writer


def writer_of(scope: Scope) -> DirectWriter | None:
    """None before the head of the answer, for an answer that is not chunked, and behind another server."""
    writer = scope.get(_KEY)
    return writer if isinstance(writer, DirectWriter) else None
