"""One connection to the fake Ollama, to the byte."""

import asyncio
import socket
from collections import deque
from typing import cast

import httptools

from tests.support.fake_ollama_answering import Answer
from tests.support.fake_ollama_asks import AskError, decode_like_go
from tests.support.fake_ollama_paths import Kind, resolve
from tests.support.fake_ollama_script import Behaviour, Script
from tests.support.fake_ollama_wire import SocketWire
from tests.support.fake_ollama_witness import Ended, Seen, Witness

UNREAD_LOOK_SECONDS = 0.02
_TCP_ESTABLISHED = 1


class Connection(asyncio.Protocol):
    """Reads requests one after the other, answers them in turn."""

    def __init__(self, witness: Witness, behaviour: Behaviour) -> None:
        self._witness, self._behaviour = witness, behaviour
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._raw = bytearray()  # from the start of the head that is being read
        self._between_messages = True
        self._target = b""
        self._headers: list[tuple[str, str]] = []
        self._reading: tuple[Seen, Script, bool] | None = None
        self._waiting: deque[tuple[Seen, Script]] = deque()
        self._answering: tuple[Seen, asyncio.Task[None]] | None = None
        self._last = False  # nothing is read after this request

    # --- the transport's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's does not say that it is one
        self._wire = SocketWire(self._transport)
        self._witness.connections_accepted += 1
        self.number = self._witness.connections_accepted
        self._witness.connections_open += 1
        self._witness.changed()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._witness.connections_open -= 1
        self._wire.resume()
        self._abandon(Ended.CALLER_LEFT)
        self._witness.changed()

    def eof_received(self) -> bool:
        """Half-close cancels as well (§5.1)."""
        self._abandon(Ended.CALLER_LEFT)
        return False

    def pause_writing(self) -> None:
        self._wire.pause()

    def resume_writing(self) -> None:
        self._wire.resume()

    def data_received(self, data: bytes) -> None:
        self._witness.bytes_received += len(data)
        if self._reading is not None or self._between_messages:
            self._raw.clear()
        self._raw += data
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # Ollama ignores upgrades (§2); what follows is not read
        except httptools.HttpParserError:
            self._witness.malformed.append(bytes(self._raw))
            self._abandon(Ended.FAULTED)
            self._transport.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n400 Bad Request")
            self._transport.close()
            self._witness.changed()

    def stop(self) -> None:
        """The fake is going down."""
        self._abandon(Ended.FAULTED)
        self._transport.abort()

    # --- the parser's calls

    def on_message_begin(self) -> None:
        self._between_messages = False
        self._target, self._headers = b"", []

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        method, target = self._parser.get_method().decode("latin-1"), self._target.decode("latin-1")
        match = resolve(method, target)
        kind = match.route.kind if match.route else None
        script, own = self._behaviour.at_head(inference=kind is Kind.INFERENCE)
        number, now = len(self._witness.requests) + 1, self._loop.time()
        raw = self._raw_head()
        seen = Seen(number, self.number, raw, method, target, self._headers, match, now)
        self._reading = (seen, script, own)
        self._witness.arrived(seen)
        if script.unread_body:
            self._last = True
            self._transport.pause_reading()
            self._enqueue(seen, script)

    def on_body(self, body: bytes) -> None:
        if self._reading is not None:
            self._reading[0].received += body
            self._witness.changed()

    def on_message_complete(self) -> None:
        self._between_messages = True
        if self._reading is None:
            return
        seen, script, own = self._reading
        self._reading = None
        seen.body_complete = True
        try:
            seen.fields = decode_like_go(seen.body) if seen.received else {}
        except AskError:
            seen.fields = {}
        if script.unread_body:
            return
        self._last = self._last or not self._parser.should_keep_alive()
        self._enqueue(seen, script if own else self._behaviour.by_model.get(seen.model, script))

    def _raw_head(self) -> bytes:
        start = max(self._raw.find(self._parser.get_method() + b" " + self._target + b" HTTP/"), 0)
        end = self._raw.find(b"\r\n\r\n", start) + 4
        head = bytes(self._raw[start:end])
        del self._raw[:end]
        return head

    # --- answering

    def _enqueue(self, seen: Seen, script: Script) -> None:
        self._waiting.append((seen, script))
        if self._answering is None:
            self._answer_next()

    def _answer_next(self) -> None:
        seen, script = self._waiting.popleft()
        self._wire.begin(script, bodyless=seen.method == "HEAD", last=self._last and not self._waiting)
        work = self._answer_unread(seen, script) if script.unread_body else self._answer(seen, script)
        self._answering = (seen, self._loop.create_task(work))

    async def _answer(self, seen: Seen, script: Script) -> None:
        answer = Answer(self._wire, seen, script, self._witness.changed)
        ended = Ended.FAULTED
        try:
            ended = await answer.give(self._behaviour)
        finally:
            self._answering = None
            self._witness.end(seen, ended, self._loop.time())
        if self._wire.last:
            self._transport.close()
        elif self._waiting:
            self._answer_next()

    async def _answer_unread(self, seen: Seen, script: Script) -> None:
        """Nobody reads this socket, so its state has to be looked at to notice that the caller left."""
        look = self._loop.create_task(self._watch_unread())
        try:
            await self._answer(seen, script)
        finally:
            look.cancel()

    async def _watch_unread(self) -> None:
        connected: socket.socket = self._transport.get_extra_info("socket")
        # No event tells of a socket that is not read.
        while connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_ESTABLISHED:
            await asyncio.sleep(UNREAD_LOOK_SECONDS)
        self._transport.abort()

    def _abandon(self, ended: Ended) -> None:
        """Nothing on this connection will be answered any more."""
        now = self._loop.time()
        unfinished = [seen for seen, _ in self._waiting]
        if self._reading is not None:
            unfinished.append(self._reading[0])
            self._reading = None
        if self._answering is not None:
            seen, task = self._answering
            unfinished.append(seen)
            task.cancel()
        self._waiting.clear()
        for seen in unfinished:
            self._witness.end(seen, ended, now)
