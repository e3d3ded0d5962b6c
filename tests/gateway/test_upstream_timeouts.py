"""Each time that the model server may take has an end of its own, told in words of its own."""

import json
import time
from typing import Any

import pytest

from tests.gateway.test_broken_answers import booked
from tests.gateway.test_half_records import records_of, told
from tests.support.factories import make_tenancy
from tests.support.fake_ollama import FakeOllama, Fault, Script
from tests.support.fake_ollama_script import never
from tests.support.gateways import live_gateway
from tests.support.load import CHAT
from tests.support.raw_http import RawEnd, request_bytes, send_to_the_end
from tests.support.stores import Stores
from tests.support.valid_bodies import STREAMING
from tests.unit.upstream.test_cancellation import full_backlog

[CHATTING] = [endpoint for endpoint in STREAMING if endpoint.path == "/api/chat"]
TIMES = (
    "upstream_connect_timeout_s",
    "upstream_first_byte_timeout_s",
    "upstream_record_timeout_s",
    "upstream_total_timeout_s",
)
LONG_SECONDS, SHORT_SECONDS = 20.0, 0.4


async def ended(stores: Stores, upstream_url: str, body: dict[str, Any], **short: float) -> tuple[RawEnd, str, int]:
    """How a request ends where only these times are short: its answer, its outcome, what it was charged."""
    times: dict[str, Any] = {**dict.fromkeys(TIMES, LONG_SECONDS), **short}
    async with live_gateway(stores, upstream_url, **times) as gateway:
        tenancy = await make_tenancy(gateway.services)
        asked = request_bytes("POST", "/api/chat", key=tenancy.key, body=json.dumps(body).encode())
        began = time.monotonic()
        answer = await send_to_the_end(gateway.base_url, asked)
        assert SHORT_SECONDS <= time.monotonic() - began < LONG_SECONDS / 2
        outcome, status, charged = await booked(stores, tenancy)
        assert status == answer.status
    return answer, outcome, charged


@pytest.mark.promise("F3")
async def test_the_time_to_connect(stores: Stores) -> None:
    with full_backlog() as port:
        answer, outcome, charged = await ended(
            stores, f"http://127.0.0.1:{port}", CHAT, upstream_connect_timeout_s=SHORT_SECONDS
        )
    assert (answer.status, outcome, charged) == (503, "not_forwarded", 0)
    assert told(json.loads(answer.body)) == "The model server did not take a connection in time."


@pytest.mark.promise("F3")
async def test_the_time_to_take_the_request(stores: Stores, ollama: FakeOllama) -> None:
    """A stall of the upload has the time between two records."""
    ollama.script = Script(unread_body=True)
    large = {**CHAT, "messages": [{"role": "user", "content": "x" * 14_000_000}]}
    answer, outcome, charged = await ended(stores, ollama.base_url, large, upstream_record_timeout_s=SHORT_SECONDS)
    assert (answer.status, outcome) == (504, "upstream_timed_out")
    assert charged > 0
    assert told(json.loads(answer.body)) == "The model server did not take the request in time."


@pytest.mark.promise("F3", "S6")
async def test_the_time_to_the_first_byte(stores: Stores, ollama: FakeOllama) -> None:
    """Its own time alone counts while a model loads: the one between two records is shorter here, without an effect."""
    ollama.script = never()
    answer, outcome, charged = await ended(
        stores, ollama.base_url, CHAT,
        upstream_first_byte_timeout_s=2 * SHORT_SECONDS, upstream_record_timeout_s=SHORT_SECONDS / 4,
    )  # fmt: skip
    assert (answer.status, outcome) == (504, "upstream_timed_out")
    assert charged > 0
    assert told(json.loads(answer.body)) == "The model server did not begin to answer in time."
    assert b"x-should-retry: false" in answer.head or b"retry-after" not in answer.head


@pytest.mark.promise("F3")
async def test_the_time_between_two_records(stores: Stores, ollama: FakeOllama) -> None:
    ollama.script = Script(fault=Fault.HANG, fault_after_records=3)
    answer, outcome, charged = await ended(
        stores, ollama.base_url, {**CHAT, "stream": True}, upstream_record_timeout_s=SHORT_SECONDS
    )
    assert (answer.status, answer.whole, outcome) == (200, False, "upstream_timed_out")
    assert charged > 0
    assert told(records_of(CHATTING, answer.body)[-1]) == "The model server fell silent within its answer."


@pytest.mark.promise("F3")
@pytest.mark.parametrize("streamed", [True, False])
async def test_the_time_for_all_of_it(stores: Stores, ollama: FakeOllama, *, streamed: bool) -> None:
    ollama.script = Script(tokens=1000, gap_seconds=0.02)
    answer, outcome, charged = await ended(
        stores, ollama.base_url, {**CHAT, "stream": streamed},
        upstream_first_byte_timeout_s=2 * SHORT_SECONDS, upstream_total_timeout_s=2 * SHORT_SECONDS,
    )  # fmt: skip
    assert (answer.status, outcome) == (200 if streamed else 504, "upstream_timed_out")
    assert charged > 0
    error = records_of(CHATTING, answer.body)[-1] if streamed else json.loads(answer.body)
    assert told(error) in ({"The request took too long."} if streamed else {"The request took too long.",
                           "The model server did not begin to answer in time."})  # fmt: skip
