"""What the gateway asks of its upstream."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import orjson

from neuronetz_gateway.upstream.headers import is_encoded, request_headers
from neuronetz_gateway.upstream.reply import Reply
from neuronetz_gateway.upstream.request import PreparedRequest, RequestTemplate

_MAX_DOCUMENT_BYTES = 8 * 1024 * 1024
_OFF_LOOP_BYTES = 256 * 1024  # reading more than this could hold the event loop for longer than about 1 ms
_SHOW_SECONDS = 10.0  # Ollama reads the head of the model's file for it, which may be on a slow disk
_MAX_TEMPLATES = 256


class Upstream:
    """One model server behind a base URL, whose path prefix, if any, stands before every path.

    Raises what httpx raises; errors are told to callers elsewhere.
    """

    def __init__(
        self, transport: httpx.AsyncBaseTransport, base_url: str, *, probe_timeout_seconds: float = 2.0
    ) -> None:
        url = httpx.URL(base_url)
        if url.scheme not in {"http", "https"} or not url.host or url.userinfo or url.query or url.fragment:
            raise ValueError("the base URL of the upstream is http(s)://host[:port][/prefix]")
        self._transport = transport
        self._base_url = f"{url.scheme}://{url.netloc.decode('ascii')}{url.raw_path.decode('ascii').rstrip('/')}"
        self._templates: dict[tuple[str, str, bool], RequestTemplate] = {}
        self._probe_timeout_seconds = probe_timeout_seconds
        self._client = httpx.AsyncClient(
            transport=transport, timeout=probe_timeout_seconds, trust_env=False, follow_redirects=False
        )

    @property
    def client(self) -> httpx.AsyncClient:
        """For whatever is not hot: one shared httpx client over the same connections, with short time-outs."""
        return self._client

    async def open(
        self,
        method: str,
        path: str,
        body: bytes,
        going_up: Callable[[], None] = lambda: None,
        trace_fields: Sequence[tuple[bytes, bytes]] = (),
    ) -> httpx.Response:
        """Send one request; the response comes with its head. `going_up` is called just before the first byte is sent.

        trace_fields are the only ones of a head that differ from request to request (W3C Trace Context).

        Raises httpx.TransportError, also for a compressed answer: without the field that names its coding, which does
        not cross, it would reach callers as rubbish that no meter can read.

        Iterate `response.stream` for the raw bytes. Whoever calls this must, however it ends, call `abort(response)` or
        `await response.aclose()`; both do nothing once the body has been received whole.
        """
        request = PreparedRequest(self._template(method, path, with_body=bool(body)), body, going_up, trace_fields)
        response = await self._transport.handle_async_request(request)
        request.let_body_go()  # an answer may take an hour, with a body of megabytes behind it
        response.request = request
        if is_encoded(response):
            self.abort(response)
            raise httpx.RemoteProtocolError("the upstream encoded its answer unasked")
        return response

    @staticmethod
    def abort(response: httpx.Response) -> None:
        """Give up a response of `open` without an await: its connection is closed unless it was received whole."""
        if isinstance(response.stream, Reply):
            response.stream.abort()

    async def version(self) -> str:
        """The version of the upstream; raises httpx.HTTPError when it does not say so in time."""
        version = (await self._document("GET", "/api/version")).get("version")
        if not isinstance(version, str):
            raise httpx.DecodingError("the upstream names no version")
        return version

    async def models(self) -> list[str]:
        """The names of the installed models; raises httpx.HTTPError when they cannot be had in time."""
        try:
            return [str(model["name"]) for model in await self.tags()]
        except (TypeError, KeyError) as error:
            raise httpx.DecodingError("the upstream's list of models cannot be read") from error

    async def tags(self) -> list[Any]:
        """The entries of the list of installed models, as they come; raises httpx.HTTPError as models does."""
        entries = (await self._document("GET", "/api/tags")).get("models")
        if entries is not None and not isinstance(entries, list):
            raise httpx.DecodingError("the upstream's list of models is none")
        return entries or []

    async def show(self, model: str) -> dict[str, Any]:
        """What the upstream tells of an installed model; raises httpx.HTTPError when it cannot be had in time."""
        return await self._document("POST", "/api/show", {"model": model}, timeout_seconds=_SHOW_SECONDS)

    async def cloud_is_off(self) -> bool | None:
        """Whether it sends no model's name to ollama.com; None where it does not say, as older ones."""
        try:
            cloud = (await self._document("GET", "/api/status")).get("cloud")
        except httpx.HTTPStatusError:
            return None
        disabled = cloud.get("disabled") if isinstance(cloud, dict) else None
        return disabled if isinstance(disabled, bool) else None

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def _document(
        self, method: str, path: str, question: object = None, *, timeout_seconds: float | None = None
    ) -> dict[str, Any]:
        seconds = timeout_seconds or self._probe_timeout_seconds
        body = bytearray()
        try:
            async with (
                asyncio.timeout(seconds),
                self._client.stream(
                    method,
                    self._base_url + path,
                    content=None if question is None else orjson.dumps(question),
                    headers=request_headers(with_body=question is not None),
                    timeout=seconds,
                ) as response,
            ):
                response.raise_for_status()
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > _MAX_DOCUMENT_BYTES:
                        raise httpx.DecodingError("the upstream's document is too large")
        except TimeoutError as error:
            raise httpx.ReadTimeout("the upstream did not answer in time") from error
        try:
            document = await _parsed(body)
        except orjson.JSONDecodeError as error:
            raise httpx.DecodingError("the upstream's document is no JSON") from error
        if not isinstance(document, dict):
            raise httpx.DecodingError("the upstream's document is no object")
        return document

    def _template(self, method: str, path: str, *, with_body: bool) -> RequestTemplate:
        """What all requests to a row of the endpoint table share, built once."""
        key = method, path, with_body
        template = self._templates.get(key)
        if template is None:
            url = httpx.URL(self._base_url + path)
            template = RequestTemplate(method, url, request_headers(with_body=with_body))
            if len(self._templates) < _MAX_TEMPLATES:  # paths that name a model are not finite
                self._templates[key] = template
        return template


async def _parsed(body: bytearray) -> Any:
    if len(body) > _OFF_LOOP_BYTES:
        return await asyncio.to_thread(orjson.loads, body)
    return orjson.loads(body)
