"""One request of a caller's connection, its answer written as HTTP/1.1."""

from typing import cast
from urllib.parse import unquote

from starlette.types import Message, Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from neuronetz_gateway.http.caller_transport import CallerTransport
from neuronetz_gateway.http.direct_writer import DirectWriter, offer

_WITHOUT_BODY = frozenset({204, 304})
_LINE = b"\r\n"
# Whatever could end a field, or the head, before its time (RFC 9110 §5.5); a tab may stand in a value.
_CONTROLS = bytes(code for code in range(32) if code != 9) + b"\x7f"  # noqa: PLR2004 - the tab


def describe(scope: Scope, method: bytes, version: str, target: bytes) -> None:
    """Write into the scope of ASGI what a request line says; of a target only the path may be anything but itself."""
    raw_path, _, query = target.partition(b"?")
    scope["method"], scope["http_version"] = method.decode("ascii"), version
    scope["path"], scope["raw_path"], scope["query_string"] = unquote(raw_path.decode("ascii")), raw_path, query


class AnswerCycle(RequestResponseCycle):
    """uvicorn's own, which asks two regular expressions about every field it sends and writes every piece apart.

    Here a head is looked through once, as a whole; CallerTransport sends it with what follows.
    Field names come in lower case, as ASGI wants them.
    """

    transport: CallerTransport

    async def send(self, message: Message) -> None:  # type: ignore[override]  # Starlette's word for the same mapping
        """Write one piece of the answer; waits while the caller takes nothing.

        Raises RuntimeError: the application broke the order of ASGI, or the framing of HTTP.
        """
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if self.response_complete:
            raise RuntimeError(f"{message['type']} was sent after the end of the answer.")
        if self.response_started:
            self._go_on(message)
        else:
            self._begin(message)

    def _begin(self, message: Message) -> None:
        if message["type"] != "http.response.start":
            raise RuntimeError(f"An answer begins with its head, not with {message['type']}.")
        self.response_started, self.waiting_for_100_continue = True, False
        status: int = message["status"]
        fields = [*self.default_headers, *message["headers"]]
        for name, value in fields:
            if name == b"content-length":
                self.expected_content_length, self.chunked_encoding = int(value), False
            elif name == b"connection" and b"close" in value.lower():
                self.keep_alive = False
            elif name == b"transfer-encoding":
                raise RuntimeError("How an answer is transferred is for the server to say.")
        lines = [b"%b: %b\r\n" % field for field in fields if field[0] != b"connection"]
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")
        if self.chunked_encoding is None and self.scope["method"] != "HEAD" and status not in _WITHOUT_BODY:
            self.chunked_encoding = True
            lines.append(b"transfer-encoding: chunked\r\n")
            offer(cast("Scope", self.scope), DirectWriter(self.transport, self.flow))
        head = b"".join(lines)
        if len(head.translate(None, _CONTROLS)) != len(head) - len(_LINE) * len(lines):
            raise RuntimeError("A field of the answer holds what could end it.")
        self.transport.write(STATUS_LINE[status] + head + _LINE)

    def _go_on(self, message: Message) -> None:
        if message["type"] != "http.response.body":
            raise RuntimeError(f"An answer goes on with its body, not with {message['type']}.")
        body: bytes = message.get("body", b"")
        more_body: bool = message.get("more_body", False)
        if self.scope["method"] == "HEAD":
            self.expected_content_length = 0
        elif self.chunked_encoding:
            self._write_chunk(body, more_body=more_body)
        else:
            self.expected_content_length -= len(body)
            if self.expected_content_length < 0:
                raise RuntimeError("The body of the answer is longer than its head has said.")
            self.transport.write(body)
        if not more_body:
            self._complete()

    def _write_chunk(self, body: bytes, *, more_body: bool) -> None:
        chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
        if not more_body:
            chunk += b"0\r\n\r\n"
        if chunk:
            self.transport.write(chunk)

    def _complete(self) -> None:
        if self.expected_content_length != 0:
            raise RuntimeError("The body of the answer is shorter than its head has said.")
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()
