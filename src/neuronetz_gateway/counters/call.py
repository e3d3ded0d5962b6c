"""One command on its way to Redis."""

import asyncio
from typing import Any

from hiredis import ReplyError, pack_command

from neuronetz_gateway.counters.errors import unavailable

type Part = str | bytes | int


class Call:
    """A command, the future its caller awaits, the loop time at which that caller stops waiting.

    script_body is set for an EVALSHA, so that the same call can be repeated with the script itself.
    heard_before is what its link had received when the call was sent, -1 while it waits to be sent.
    """

    __slots__ = ("deadline", "future", "heard_before", "names_server", "parts", "script_body")

    def __init__(
        self, parts: tuple[Part, ...], script_body: bytes | None, future: asyncio.Future[Any], deadline: float
    ) -> None:
        self.parts = parts
        self.names_server = script_body is not None
        self.script_body = script_body
        self.future = future
        self.deadline = deadline
        self.heard_before = -1

    def packed(self, run_id: bytes) -> bytes:
        """The command for the server with this run id, which is a script's last argument.

        To be asked for when the call is sent: while it waited, another server may have come in place of the last.
        """
        return _pack((*self.parts, run_id) if self.names_server else self.parts)

    def answer(self, reply: object) -> None:
        """Gives the reply to the caller, if it still waits."""
        if not self.future.done():
            self.future.set_result(reply)

    def fail(self, cause: BaseException | None) -> None:
        """Tells the caller that the store did not serve, if it still waits."""
        if not self.future.done():
            self.future.set_exception(unavailable(cause))

    def repeat_with_script(self, error: ReplyError) -> bool:
        """Turns the call into an EVAL when Redis did not know the script: it has had no effect, EVAL loads it too."""
        if self.script_body is None or self.future.done() or not str(error).startswith("NOSCRIPT"):
            return False
        self.parts = ("EVAL", self.script_body, *self.parts[2:])
        self.script_body = None
        return True


def _pack(parts: tuple[Part, ...]) -> bytes:
    packed: bytes = pack_command(parts)  # type: ignore[arg-type] # its stub means a tuple of any length
    return packed
