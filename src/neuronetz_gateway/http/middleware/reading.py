"""Step 3: the body, read once, bounded, strictly, now that we know for whom."""

from collections.abc import Callable
from dataclasses import replace

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from neuronetz_gateway.common_timer import CommonTimer
from neuronetz_gateway.domain.principal import Principal
from neuronetz_gateway.errors import (
    EndpointNotFoundError,
    InvalidRequestError,
    ModelForbiddenError,
    RequestTimeoutError,
    RequestTooLargeError,
    UnsupportedMediaTypeError,
)
from neuronetz_gateway.http.body_room import BodyRoom, BodyShare
from neuronetz_gateway.http.exchange import Exchange, exchange_of
from neuronetz_gateway.http.malformed import check_unbroken
from neuronetz_gateway.http.time_limit import TimeLimit
from neuronetz_gateway.surfaces import loading
from neuronetz_gateway.surfaces.model_paths import model_in
from neuronetz_gateway.surfaces.strict_json import parse
from neuronetz_gateway.surfaces.surface import Call, Endpoint, JsonObject, RequestRules

type Reads = Callable[[JsonObject, RequestRules], Call]

_SMALL_BYTES = 64 * 1024  # more than this takes room (BodyRoom)
# What can hold the event loop for longer than a few ms is parsed beside it: not only the size tells, 64 KiB of `{},`
# take twenty times as long as a prompt of that size (measured: 10 to 37 ms).
_LIGHT_BYTES = 4 * 1024
_LIGHT_VALUES = 2_000
_NO_BODY = Call(model="", streamed=False, prompt_bound_tokens=0, output_asked_tokens=0, body={})


class ReadingMiddleware:
    def __init__(
        self,
        app: ASGIApp,
        *,
        endpoint: Endpoint,
        rules: RequestRules,
        room: BodyRoom,
        max_body_bytes: int,
        body_timeout_seconds: float,
        kept_bytes: int,
    ) -> None:
        self.app, self.rules, self.room = app, rules, room
        self.reads = endpoint.inference.read if endpoint.inference else endpoint.asks
        self.prefix = endpoint.prefix.encode("ascii") if endpoint.prefix else None
        self.max_body_bytes, self.body_timeout_seconds = max_body_bytes, body_timeout_seconds
        self.arriving = CommonTimer(body_timeout_seconds)
        self.kept_bytes = kept_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = exchange_of(scope)
        policy = exchange.principal.policy
        # On the second way through a stale chain the body is here already; another policy may see another call in it.
        if not exchange.was_read or exchange.read_under != policy:
            exchange.call = await self._call_of(scope, receive, exchange)
            exchange.was_read, exchange.read_under = True, policy
        _check_model(exchange.principal, exchange.call)
        _check_loading(exchange.principal, exchange.call)
        await self.app(scope, receive, send)

    async def _call_of(self, scope: Scope, receive: Receive, exchange: Exchange) -> Call:
        if self.reads is not None:
            return await self._read(scope, receive, self.reads, exchange)
        return _NO_BODY if self.prefix is None else _named(model_in(scope["raw_path"], self.prefix))

    async def _read(self, scope: Scope, receive: Receive, reads: Reads, exchange: Exchange) -> Call:
        if not exchange.body:
            exchange.body = await self._arrived(scope, receive, exchange)
        body, rules = exchange.body, self._rules_for(exchange.principal)
        if _is_light(body):
            return self._call(body, reads, rules)
        return await self.room.lane.parsed(exchange.principal.tenant_id, lambda: self._call(body, reads, rules))

    def _rules_for(self, principal: Principal) -> RequestRules:
        if principal.policy is None:
            return self.rules
        return replace(self.rules, policy=self.rules.policy.changed_by(principal.policy))

    async def _arrived(self, scope: Scope, receive: Receive, exchange: Exchange) -> bytes:
        self._check_head(scope)
        try:
            with TimeLimit(self.arriving):
                body = await self._body(scope, receive, self._share(exchange))
        except TimeoutError:
            raise RequestTimeoutError(
                f"The request body did not arrive within {self.body_timeout_seconds:g} s."
            ) from None
        if exchange.principal.prompt_log_seconds is not None:
            exchange.body_head, exchange.body_bytes = body[: self.kept_bytes], len(body)
        return body

    def _share(self, exchange: Exchange) -> BodyShare:
        share = exchange.body_share = self.room.share(exchange.principal.tenant_id)
        return share

    def _call(self, body: bytes, reads: Reads, rules: RequestRules) -> Call:
        value: JsonObject = parse(body, max_depth=self.rules.max_depth, max_nodes=self.rules.max_nodes)
        return reads(value, rules)

    def _check_head(self, scope: Scope) -> None:
        for name, value in scope["headers"]:
            if name == b"content-encoding" and value.strip().lower() not in {b"", b"identity"}:
                raise UnsupportedMediaTypeError("Compressed request bodies are not accepted; send the JSON as it is.")
            if name == b"upgrade":  # the parser takes no body with it (CallerConnection)
                raise InvalidRequestError("This gateway speaks HTTP/1.1 alone; send the request without 'Upgrade'.")
            if name == b"content-length" and value.isdigit() and int(value) > self.max_body_bytes:
                raise self._too_large()

    async def _body(self, scope: Scope, receive: Receive, share: BodyShare) -> bytes:
        message = await receive()
        if message["type"] == "http.request" and not message.get("more_body"):
            body: bytes = message.get("body", b"")
            self._check_size(len(body), share)
            return body
        chunks: list[bytearray] = []  # one that grows beside others would scatter the memory of all of them
        size_bytes = 0
        try:
            while message["type"] == "http.request":
                check_unbroken(scope)
                piece = message.get("body", b"")
                size_bytes += len(piece)
                if chunks and len(chunks[-1]) < _SMALL_BYTES:
                    chunks[-1] += piece
                else:
                    chunks.append(bytearray(piece))
                self._check_size(size_bytes, share)
                share.grow_to(size_bytes)  # a small one too, while it is not whole: ten thousand may never be
                if not message.get("more_body"):
                    return b"".join(chunks)
                message = await receive()
            raise ClientDisconnect
        finally:
            chunks.clear()  # a refusal has this frame in its traceback

    def _check_size(self, size_bytes: int, share: BodyShare) -> None:
        if size_bytes > self.max_body_bytes:
            raise self._too_large()
        if size_bytes > _SMALL_BYTES:
            share.grow_to(size_bytes)

    def _too_large(self) -> RequestTooLargeError:
        return RequestTooLargeError(f"The request body is larger than {self.max_body_bytes} bytes (MAX_BODY_BYTES).")


def _is_light(body: bytes) -> bool:
    size_bytes = len(body)
    if size_bytes <= _LIGHT_BYTES or size_bytes > _SMALL_BYTES:
        return size_bytes <= _LIGHT_BYTES
    return body.count(b",") + body.count(b"{") + body.count(b"[") <= _LIGHT_VALUES


def _named(model: str | None) -> Call:
    """The call of a path that names a model; none that names none is routed here."""
    if model is None:
        raise EndpointNotFoundError("There is no such endpoint here.")
    return _NO_BODY._replace(model=model)


def _check_model(principal: Principal, call: Call) -> None:
    model = call.model
    if model and not principal.allows(model):
        raise ModelForbiddenError(
            f"This key may not use the model '{model}'. The list of models shows which it may use.", field="model"
        )


def _check_loading(principal: Principal, call: Call) -> None:
    if call.loads and not principal.may_load_models:
        raise loading.forbidden(call)
