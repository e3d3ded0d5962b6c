"""No fault of the model server, on any endpoint, looks like a clean end, holds a place or is free of charge."""

import asyncio
import json

import pytest

from neuronetz_gateway.surfaces.surface import Endpoint
from tests.gateway.test_broken_answers import booked
from tests.gateway.test_half_records import records_of, told
from tests.support.factories import make_tenancy
from tests.support.fake_ollama import FakeOllama, Fault, Script
from tests.support.gateways import LiveGateway
from tests.support.raw_http import RawEnd, request_bytes, send_to_the_end
from tests.support.stores import Stores
from tests.support.valid_bodies import GENERATING, INFERRING, STREAMING, asking, name_of

FREED_SECONDS = 3.0  # the promise is 1 s, with the usual slack
FAULTS = tuple(fault for fault in Fault if fault not in {Fault.NONE, Fault.HANG})
EMBEDDING = tuple(each for each in INFERRING if each not in GENERATING)


async def told_of_each_fault(
    gateway: LiveGateway, stores: Stores, ollama: FakeOllama, endpoint: Endpoint, *, streamed: bool, after: int
) -> None:
    for fault in FAULTS:
        case = f"{name_of(endpoint)}, {fault}, after {after}"
        ollama.next(Script(tokens=6, fault=fault, fault_after_records=after, error="inner words at /home/gpu/.ollama"))
        tenancy = await make_tenancy(gateway.services)
        asked = asking(endpoint, 50, **({"stream": streamed} if endpoint in STREAMING else {}))
        answer = await send_to_the_end(
            gateway.base_url,
            request_bytes("POST", endpoint.path, key=tenancy.key, body=json.dumps(asked).encode()),
        )
        async with asyncio.timeout(FREED_SECONDS):
            while gateway.services.limiter.open_admissions:
                await asyncio.sleep(0.01)
        check_answer(endpoint, answer, case)
        assert answer.status == 502 or streamed, case
        outcome, status, charged = await booked(stores, tenancy)
        refused = fault is Fault.ERROR_RECORD and not streamed  # an error status: Ollama had generated nothing
        assert outcome == ("upstream_refused" if refused else "upstream_broken"), case
        assert (charged > 0) is not refused, case
        assert status == answer.status, case


def check_answer(endpoint: Endpoint, answer: RawEnd, case: str) -> None:
    assert b"inner words" not in answer.body, case
    if answer.status != 200:
        assert answer.whole, case
        assert "model server" in told(json.loads(answer.body)), case
        return
    assert not answer.whole, case
    end = endpoint.surface.record_end
    *_, last = answer.body.removesuffix(end).split(end)  # what stands before it may be garbage
    assert "model server" in told(records_of(endpoint, last + end)[-1]), case


@pytest.mark.promise("S3", "B7", "F3")
@pytest.mark.parametrize("after", [0, 3])
@pytest.mark.parametrize("endpoint", STREAMING, ids=name_of)
async def test_a_stream_that_breaks(
    gateway: LiveGateway, stores: Stores, ollama: FakeOllama, endpoint: Endpoint, after: int
) -> None:
    await told_of_each_fault(gateway, stores, ollama, endpoint, streamed=True, after=after)


@pytest.mark.promise("S3", "B7", "F3")
@pytest.mark.parametrize("after", [0, 3])
@pytest.mark.parametrize("endpoint", GENERATING, ids=name_of)
async def test_an_answer_in_one_piece_that_breaks(
    gateway: LiveGateway, stores: Stores, ollama: FakeOllama, endpoint: Endpoint, after: int
) -> None:
    await told_of_each_fault(gateway, stores, ollama, endpoint, streamed=False, after=after)


@pytest.mark.promise("S3", "B7", "F3")
@pytest.mark.parametrize("endpoint", EMBEDDING, ids=name_of)
async def test_an_embedding_that_breaks(
    gateway: LiveGateway, stores: Stores, ollama: FakeOllama, endpoint: Endpoint
) -> None:
    await told_of_each_fault(gateway, stores, ollama, endpoint, streamed=False, after=0)
