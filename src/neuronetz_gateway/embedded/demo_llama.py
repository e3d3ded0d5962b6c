"""Calls to llama.cpp's own server, over the Unix socket on which the demo model runs it."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from neuronetz_gateway.embedded.demo_http import header_fields, read_body, read_chunks

LINE_LIMIT_BYTES = 32 * 1024 * 1024
OK = 200


class LlamaError(Exception):
    """llama.cpp's server refused, or ended in the middle."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class LlamaServer:
    """One connection a call: closing it is how a call is cancelled, at any moment."""

    def __init__(self, socket_path: Path) -> None:
        self._path = socket_path

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The JSON answer. Raises `LlamaError`."""
        async with self._call(path, body) as (reader, headers):
            return json.loads(await read_body(reader, headers))

    async def stream(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        """The records of an event stream, as they come. Raises `LlamaError`."""
        async with self._call(path, body) as (reader, _):
            rest = b""
            async for chunk in read_chunks(reader):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if line.startswith(b"data: {"):
                        yield _record(line)

    @asynccontextmanager
    async def _call(
        self, path: str, body: Mapping[str, Any]
    ) -> AsyncIterator[tuple[asyncio.StreamReader, Mapping[str, str]]]:
        content = json.dumps(body).encode()
        try:
            reader, writer = await asyncio.open_unix_connection(str(self._path), limit=LINE_LIMIT_BYTES)
        except OSError as error:
            raise LlamaError(503, "the model is not running") from error
        try:
            head = f"POST {path} HTTP/1.1\r\nHost: model\r\nConnection: close\r\nContent-Type: application/json\r\n"
            writer.write(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
            await writer.drain()
            answer = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            status, headers = int(answer[0].split(" ")[1]), header_fields(answer[1:-2])
            if status != OK:
                raise _refusal(status, await read_body(reader, headers))
            yield reader, headers
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            raise LlamaError(500, "the model ended in the middle of an answer") from error
        finally:
            writer.close()


def _record(line: bytes) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(line.removeprefix(b"data: "))
    if "error" in record:
        raise _refusal(500, json.dumps(record).encode())
    return record


def _refusal(status: int, body: bytes) -> LlamaError:
    try:
        error = json.loads(body)["error"]
        return LlamaError(int(error.get("code", status)), str(error["message"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        return LlamaError(status, "the model could not answer")
