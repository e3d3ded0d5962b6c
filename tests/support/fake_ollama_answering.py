"""How one request of the fake Ollama is answered."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Protocol

from tests.support.fake_ollama_anthropic import Messages
from tests.support.fake_ollama_asks import Ask, AskError, check_model, decode_like_go, read_ask
from tests.support.fake_ollama_formats import Dialect, MakeDialect, Usage, refusal
from tests.support.fake_ollama_metadata import Reply, embedding_reply, metadata, plain, routing_refusal
from tests.support.fake_ollama_native import Chat, Generate, unload_or_load
from tests.support.fake_ollama_openai import ChatCompletions, Completions
from tests.support.fake_ollama_parts import ChatInParts, GenerateInParts, Parts
from tests.support.fake_ollama_parts_v1 import ChatCompletionsInParts, MessagesInParts, ResponsesInParts
from tests.support.fake_ollama_paths import Family, Kind, Route, forbidden
from tests.support.fake_ollama_responses import Responses
from tests.support.fake_ollama_script import Behaviour, Fault, Script
from tests.support.fake_ollama_witness import Ended, Seen

DIALECTS: dict[str, MakeDialect] = {
    "/api/generate": Generate,
    "/api/chat": Chat,
    "/v1/chat/completions": ChatCompletions,
    "/v1/completions": Completions,
    "/v1/messages": Messages,
    "/v1/responses": Responses,
}
IN_PARTS: dict[str, Callable[[Ask, Parts], Dialect]] = {
    "/api/generate": GenerateInParts,
    "/api/chat": ChatInParts,
    "/v1/chat/completions": ChatCompletionsInParts,
    "/v1/messages": MessagesInParts,
    "/v1/responses": ResponsesInParts,
}


class Wire(Protocol):
    """The connection's end, as an answer uses it."""

    async def head(self, status: int, content_type: str, headers: tuple[tuple[str, str], ...]) -> None: ...
    async def record(self, payload: bytes) -> None: ...
    async def end_of_records(self) -> None: ...
    async def whole(self, reply: Reply) -> None: ...
    async def break_off(self, fault: Fault, payload: bytes, *, head: Reply | None) -> None: ...


class FaultedError(Exception):
    """The script's fault has been played: the answer ends here."""


class Answer:
    """One answer, from a complete request (or its head alone) to the last byte."""

    def __init__(self, wire: Wire, seen: Seen, script: Script, changed: Callable[[], None]) -> None:
        self._wire, self._seen, self._script, self._changed = wire, seen, script, changed
        self._head_sent = False

    async def give(self, behaviour: Behaviour) -> Ended:
        try:
            await self._give(behaviour)
        except FaultedError:
            return Ended.FAULTED
        return Ended.COMPLETED

    async def _give(self, behaviour: Behaviour) -> None:
        seen, route = self._seen, self._seen.match.route
        if forbidden(seen.headers):
            await self._whole(Reply(403, "text/plain", b""))
        elif route is None:
            await self._whole(routing_refusal(seen.match))
        elif self._script.status != 200:
            await self._wait_at(0, self._refusal(route, self._script.status, self._script.error))
            body = self._script.error_body
            reply = self._refusal(route, self._script.status, self._script.error)
            await self._whole(reply if body is None else Reply(reply.status, reply.content_type, body))
        elif self._script.unread_body:
            await self._wire.break_off(Fault.HANG, b"", head=None)
        elif route.kind is not Kind.INFERENCE:
            reply = metadata(seen.match, seen.fields, behaviour)
            await self._wait_at(0, reply)
            await self._whole(reply)
        else:
            await self._infer(route, behaviour.models)

    async def _infer(self, route: Route, models: tuple[str, ...]) -> None:
        if route.path == "/v1/audio/transcriptions":
            await self._single(plain({"text": "amber basin"}))
            return
        try:
            ask = read_ask(route.path, decode_like_go(self._seen.body))
            check_model(route.path, ask, models)
        except AskError as error:
            await self._whole(self._refusal(route, error.status, str(error)))
            return
        self._seen.prompt_tokens = (
            ask.prompt_tokens if self._script.prompt_tokens is None else self._script.prompt_tokens
        )
        loaded = unload_or_load(route.path, ask) if route.path in {"/api/generate", "/api/chat"} else None
        make = self._dialect_of(route.path)
        if loaded is not None:
            await self._single(Reply(200, "application/json; charset=utf-8", loaded))
        elif make is None:
            await self._single(embedding_reply(route.path, ask, self._usage()))
        elif ask.stream:
            await self._stream(make(ask), ask)
        else:
            await self._generate_whole(make(ask), ask)

    def _dialect_of(self, path: str) -> MakeDialect | None:
        parts, in_parts = self._script.parts, IN_PARTS.get(path)
        if parts is None or in_parts is None:
            return DIALECTS.get(path)
        return lambda ask: in_parts(ask, parts)

    async def _single(self, reply: Reply) -> None:
        await self._wait_at(0, reply)
        await self._whole(reply)

    async def _generate_whole(self, dialect: Dialect, ask: Ask) -> None:
        texts, count = [], output_tokens(ask, self._script)
        partial = Reply(200, dialect.body_type, dialect.whole("", None, "stop"))
        for text in self._texts(ask, count):
            await self._wait_at(self._seen.tokens_generated, partial)
            await self._gap()
            texts.append(text)
            self._note_token()
        whole = dialect.whole("".join(texts), self._usage(), reason(ask, self._script))
        reply = Reply(200, dialect.body_type, whole)
        await self._wait_at(self._seen.tokens_generated, reply)
        await self._whole(reply)

    async def _stream(self, dialect: Dialect, ask: Ask) -> None:
        if self._script.head_first:
            await self._send_head(dialect)
        for payload, is_token in self._records(dialect, ask):
            await self._wait_in_stream(dialect)
            if is_token:
                await self._gap()
                self._note_token()
            await self._send_head(dialect)
            self._note_record(payload)
            await self._wire.record(payload)
        await self._wait_in_stream(dialect)
        await self._send_head(dialect)
        await self._wire.end_of_records()

    def _records(self, dialect: Dialect, ask: Ask) -> Iterator[tuple[bytes, bool]]:
        for payload in dialect.opening():
            yield payload, False
        for text in self._texts(ask, output_tokens(ask, self._script)):
            yield dialect.token(text), True
        for payload in dialect.closing(self._usage(), reason(ask, self._script)):
            yield payload, False

    async def _wait_in_stream(self, dialect: Dialect) -> None:
        """Delay, gate or fault of a stream that has come to this record."""
        if not await self._due(self._seen.records_sent):
            return
        fault = self._script.fault
        endings = {Fault.SILENT_END: [], Fault.GARBAGE: [b"\x00\xff{]garbage\xfe\n\n"]}
        if fault in endings or fault is Fault.ERROR_RECORD:
            await self._send_head(dialect)
            for payload in endings[fault] if fault in endings else dialect.failure(self._script.error):
                self._note_record(payload)
                await self._wire.record(payload)
            await self._wire.end_of_records()
            raise FaultedError
        if fault is Fault.CLOSE_MID_CHUNK:
            await self._send_head(dialect)
        await self._wire.break_off(fault, dialect.token(" broken"), head=None)
        raise FaultedError

    async def _wait_at(self, count: int, reply: Reply) -> None:
        """Delay, gate or fault of a whole body, of which so many tokens are generated."""
        if not await self._due(count):
            return
        fault = self._script.fault
        bodies = {Fault.SILENT_END: b"", Fault.GARBAGE: b"\x00\xff{]garbage\xfe"}
        if fault is Fault.ERROR_RECORD:
            await self._whole(self._refusal(self._route(), 500, self._script.error))
        elif fault in bodies:
            await self._whole(Reply(reply.status, reply.content_type, bodies[fault]))
        else:
            self._seen.status = reply.status if fault is Fault.CLOSE_MID_CHUNK else 0
            await self._wire.break_off(fault, reply.body, head=reply)
        raise FaultedError

    async def _due(self, count: int) -> bool:
        """Wait as the script says at this count; whether its fault is due there."""
        script = self._script
        if count == 0:
            await asyncio.sleep(script.delay_before_head_seconds)
        if script.gate is not None and script.gate_after_records == count:
            await script.gate.wait()
        return script.fault is not Fault.NONE and script.fault_after_records == count

    async def _gap(self) -> None:
        """Also without a gap the loop gets its turn, so that a caller's leaving is noticed within a token."""
        await asyncio.sleep(self._script.gap_seconds if self._seen.tokens_generated else 0)

    async def _send_head(self, dialect: Dialect) -> None:
        if not self._head_sent:
            self._head_sent = True
            self._seen.status = 200
            await self._wire.head(200, dialect.stream_type, dialect.stream_headers)

    async def _whole(self, reply: Reply) -> None:
        self._seen.status = reply.status
        self._note_record(reply.body)
        await self._wire.whole(reply)

    def _note_token(self) -> None:
        self._seen.tokens_generated += 1
        self._changed()

    def _note_record(self, payload: bytes) -> None:
        self._seen.records_sent += 1
        self._seen.note_payload(payload)
        self._changed()

    def _route(self) -> Route:
        route = self._seen.match.route
        if route is None:
            raise FaultedError
        return route

    def _texts(self, ask: Ask, count: int) -> Iterator[str]:
        script = self._script
        for index, word in enumerate(ask.words(count)):
            text = script.words[index % len(script.words)] if script.words else word
            yield "x" * script.huge_record_bytes if index == 0 and script.huge_record_bytes else text

    def _usage(self) -> Usage | None:
        script, seen = self._script, self._seen
        if script.omit_usage:
            return None
        if script.zero_usage:
            return Usage(0, 0)
        reported = script.reported_output_tokens
        return Usage(seen.prompt_tokens, seen.tokens_generated if reported is None else reported)

    def _refusal(self, route: Route, status: int, message: str) -> Reply:
        content_type = "application/json; charset=utf-8" if route.family is Family.NATIVE else "application/json"
        return Reply(status, content_type, refusal(route.family, status, message))


def output_tokens(ask: Ask, script: Script) -> int:
    bounded = script.tokens if ask.output_cap is None else min(script.tokens, ask.output_cap)
    return bounded + script.overrun_tokens


def reason(ask: Ask, script: Script) -> str:
    return "length" if ask.output_cap is not None and ask.output_cap <= script.tokens else "stop"
