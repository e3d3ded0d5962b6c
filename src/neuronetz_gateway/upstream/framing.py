"""Strict HTTP/1.1 response framing over httptools."""

import httptools
import httpx

from neuronetz_gateway.upstream.reply import Reply

_SKIPPED_INTERIM = frozenset({100, 102, 103})
_FINAL = 200  # statuses below are interim (RFC 9110 §15.2)
_WITHOUT_BODY = frozenset({204, 304})


class _RefusedError(Exception):
    """Ends the parser from within one of its callbacks."""


class ResponseParser:
    """Fills one reply after another from the bytes of one connection.

    llhttp's strict mode refuses repeated, list-valued, signed or overflowing Content-Length, Content-Length beside
    Transfer-Encoding, folded lines, bare LF, a blank before the colon, NUL. This class adds what it lets pass: transfer
    codings other than one `chunked`, 101, HTTP versions other than 1.0 or 1.1, bytes after the end of a message,
    heads, trailers or chunk extensions without bound.
    """

    _reply: Reply  # from `expect` on, without which nothing is fed

    def __init__(self, max_head_bytes: int) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._max_head_bytes = max_head_bytes
        self._to_head_request = False
        self._interim = False
        self._overhead_bytes = 0  # since the last byte of a body
        self._fields: list[tuple[bytes, bytes]] = []
        self._refusal: str | None = None

    def expect(self, reply: Reply, *, to_head_request: bool) -> None:
        """Fill this reply next."""
        self._reply = reply
        self._to_head_request = to_head_request
        self._overhead_bytes = 0

    def feed(self, data: memoryview) -> bool:
        """Parse; True if the head was completed or the body has grown.

        Raises httpx.RemoteProtocolError, after which the connection is of no more use; the reply may have been complete
        before that.
        """
        self._overhead_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            raise httpx.RemoteProtocolError(f"upstream: {self._refusal or error}") from None
        if self._overhead_bytes > self._max_head_bytes:
            raise httpx.RemoteProtocolError("upstream: more than a head's worth of bytes that are no body")
        return not self._overhead_bytes

    # What httptools calls.

    def on_message_begin(self) -> None:
        if self._reply.complete:
            self._refuse("bytes after the end of the message")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        reply, status = self._reply, self._parser.get_status_code()
        fields, self._fields = self._fields, []  # what comes from now on are trailers, which nobody here needs
        if status < _FINAL:
            if status not in _SKIPPED_INTERIM:
                self._refuse(f"status {status}")
            self._interim = True
            return
        length, chunked = self._framing(fields)
        reply.status = status
        reply.headers = fields
        reply.reusable = self._parser.should_keep_alive()
        self._overhead_bytes = 0
        if self._to_head_request:  # llhttp cannot know, so it would wait for the body that the fields describe
            reply.complete = True
            reply.reusable = reply.reusable and length == 0
        else:
            reply.ends_with_connection = length is None and not chunked and status not in _WITHOUT_BODY

    def on_body(self, data: bytes) -> None:
        if self._reply.complete:
            self._refuse("a body where there is none")
        self._reply.body += data
        self._overhead_bytes = 0

    def on_message_complete(self) -> None:
        if self._interim:
            self._interim = False
        else:
            self._reply.complete = True

    def _framing(self, fields: list[tuple[bytes, bytes]]) -> tuple[int | None, bool]:
        """The length of the body, if it is told, and whether it is chunked."""
        version = self._parser.get_http_version()
        length = None
        chunked = False
        for name, value in fields:
            lower = name.lower()
            if lower == b"content-length":
                if length is not None or chunked or not value.strip().isdigit():
                    self._refuse("contradictory body lengths")
                length = int(value)
            elif lower == b"transfer-encoding":
                if length is not None or chunked or value.strip().lower() != b"chunked" or version != "1.1":
                    self._refuse("a transfer coding other than one chunked in HTTP/1.1")
                chunked = True
        if version not in {"1.1", "1.0"}:
            self._refuse("not HTTP/1.1")
        # The count of bytes may hold some of the body, but is never too small.
        if self._overhead_bytes > self._max_head_bytes < sum(len(name) + len(value) + 4 for name, value in fields):
            self._refuse("a head larger than allowed")
        return length, chunked

    def _refuse(self, why: str) -> None:
        self._refusal = why
        raise _RefusedError(why)
