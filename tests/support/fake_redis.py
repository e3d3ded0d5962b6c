"""A Redis that does what a test tells it to, for faults that a real one does not show on demand."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from hiredis import Reader

_HANDSHAKE = (b"CLIENT", b"SCRIPT", b"INFO")
_INFO = b"run_id:%s\r\nmaxmemory_policy:noeviction\r\n"

# What to answer to one command; None keeps silent.
type Answer = Callable[[list[bytes]], bytes | None]


class FakeRedis:
    """Counts connections and what it reads; answers the handshake itself, everything else through `answer`."""

    RUN_ID = b"0123456789abcdef"

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.run_id = self.RUN_ID
        self.greets_after_seconds = 0.0
        self.connections = 0
        self.reads: list[int] = []
        self._writers: list[asyncio.StreamWriter] = []

    def reset(self) -> None:
        """Breaks every open connection without a word."""
        for writer in self._writers:
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until either side ends it."""
        self.connections += 1
        self._writers.append(writer)
        parser = Reader()
        try:
            while data := await reader.read(1 << 20):
                parser.feed(data)
                commands = []
                while (command := parser.gets()) is not False:
                    commands.append(command)
                self._take(commands, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    def _take(self, commands: list[list[bytes]], writer: asyncio.StreamWriter) -> None:
        ours = [command for command in commands if command[0] not in _HANDSHAKE]
        if ours:
            self.reads.append(len(ours))
        for command in commands:
            if command[0] in _HANDSHAKE:
                self._greet(command, writer)
            elif (reply := self.answer(command)) is not None:
                writer.write(reply)

    def _greet(self, command: list[bytes], writer: asyncio.StreamWriter) -> None:
        if command[0] != b"INFO":
            writer.write(b"+OK\r\n")
            return
        info = _INFO % self.run_id
        reply = b"$%d\r\n%s\r\n" % (len(info), info)
        if self.greets_after_seconds:
            asyncio.get_running_loop().call_later(self.greets_after_seconds, writer.write, reply)
        else:
            writer.write(reply)


@asynccontextmanager
async def fake_redis(directory: Path, answer: Answer) -> AsyncIterator[tuple[FakeRedis, str]]:
    """The fake with its URL."""
    fake, path = FakeRedis(answer), directory / "fake.sock"
    server = await asyncio.start_unix_server(fake.serve, path)
    try:
        yield fake, f"unix://{path}?protocol=2"
    finally:
        fake.reset()
        server.close()
        await server.wait_closed()
