"""Pieces of an answer written without a turn of the event loop."""

import asyncio
import logging
from typing import Any, cast

import pytest
from starlette.types import Message, Scope
from uvicorn.protocols.http.flow_control import FlowControl

from neuronetz_gateway.http.answer_cycle import AnswerCycle
from neuronetz_gateway.http.caller_transport import CallerTransport
from neuronetz_gateway.http.direct_writer import writer_of
from neuronetz_gateway.http.turn_writes import TurnWrites


class Wire(asyncio.Transport):
    """Takes what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return False


class Served:
    """One request whose answer is begun."""

    def __init__(self, method: str = "POST") -> None:
        self.wire = Wire()
        transport = CallerTransport(self.wire, asyncio.get_running_loop(), TurnWrites(), lambda: None)
        self.flow = FlowControl(transport)
        self.scope: Scope = {"type": "http", "method": method, "http_version": "1.1", "headers": []}
        self.cycle = AnswerCycle(
            scope=cast("Any", self.scope),
            transport=transport,
            flow=self.flow,
            logger=logging.getLogger(__name__),
            access_logger=logging.getLogger(__name__),
            access_log=False,
            default_headers=[],
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=True,
            on_response=lambda: None,
        )

    async def begin(self, *fields: tuple[bytes, bytes], status: int = 200) -> None:
        await self.cycle.send({"type": "http.response.start", "status": status, "headers": list(fields)})


def piece(body: bytes, *, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}


async def test_it_writes_what_send_would_between_its_pieces() -> None:
    served = Served()
    await served.begin()
    writer = writer_of(served.scope)
    assert writer is not None
    assert writer.write(b"one\n")
    await served.cycle.send(piece(b"two\n"))
    assert writer.write(b"x" * 30)
    await served.cycle.send(piece(b"", more=False))
    await asyncio.sleep(0)
    _, _, body = served.wire.written.partition(b"\r\n\r\n")
    assert body == b"4\r\none\n\r\n4\r\ntwo\n\r\n1e\r\n" + b"x" * 30 + b"\r\n0\r\n\r\n"
    assert served.cycle.response_complete


async def test_it_writes_nothing_while_the_caller_takes_nothing() -> None:
    served = Served()
    await served.begin()
    writer = writer_of(served.scope)
    assert writer is not None
    writer.write(b"a")
    await asyncio.sleep(0)
    before = served.wire.written
    served.flow.pause_writing()
    assert not writer.write(b"b")
    await asyncio.sleep(0)
    assert served.wire.written == before
    served.flow.resume_writing()
    assert writer.write(b"b")


@pytest.mark.parametrize(
    ("method", "fields", "status"),
    [("POST", [(b"content-length", b"4")], 200), ("HEAD", [], 200), ("POST", [], 204)],
    ids=["length told", "HEAD", "no content"],
)
async def test_only_of_an_answer_that_is_chunked(method: str, fields: list[tuple[bytes, bytes]], status: int) -> None:
    served = Served(method)
    assert writer_of(served.scope) is None  # nothing is begun yet
    await served.begin(*fields, status=status)
    assert writer_of(served.scope) is None
