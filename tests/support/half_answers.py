"""An upstream that stops in the middle of a record."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum

from tests.support.fake_ollama_answering import DIALECTS
from tests.support.fake_ollama_asks import decode_like_go, read_ask

_LINGER_ZERO = struct.pack("ii", 1, 0)


class Stop(StrEnum):
    FIN = "fin"
    RESET = "reset"
    HANG = "hang"  # nothing more, until the gateway leaves
    CLEAN = "clean"  # the end of the chunks, as if that had been all


@asynccontextmanager
async def half_answers(stop: Stop, *, whole_records: int = 3) -> AsyncIterator[str]:
    """The address of an upstream that answers every stream with some whole records, then with half a one."""
    waiting: set[asyncio.Task[None]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        waiting.add(task)
        head = await reader.readuntil(b"\r\n\r\n")
        path = head.split(b" ", 2)[1].decode()
        length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if b"content-length" in line)
        ask = read_ask(path, decode_like_go(await reader.readexactly(length)))
        dialect = DIALECTS[path](ask)
        records = [*dialect.opening(), *(dialect.token(f" word{each}") for each in range(whole_records))]
        last = dialect.token(" never seen whole")
        payload = b"".join(records) + last[: len(last) // 2]
        writer.write(
            f"HTTP/1.1 200 OK\r\nContent-Type: {dialect.stream_type}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        )
        writer.write(b"%x\r\n%b\r\n" % (len(payload), payload))
        await writer.drain()
        await _stop(stop, reader, writer)
        waiting.discard(task)

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for task in waiting:
            task.cancel()


async def _stop(stop: Stop, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    if stop is Stop.HANG:
        await reader.read(-1)
    elif stop is Stop.CLEAN:
        writer.write(b"0\r\n\r\n")
    elif stop is Stop.RESET:
        connected: socket.socket = writer.get_extra_info("socket")
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        writer.transport.abort()
    writer.close()
