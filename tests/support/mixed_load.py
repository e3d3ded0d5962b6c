"""Callers of every endpoint who meet every fate, each told from the others by what they say."""

import asyncio
import contextlib
import random
import re
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import httpx

from neuronetz_gateway.surfaces.catalog import ENDPOINTS
from neuronetz_gateway.surfaces.surface import Endpoint
from neuronetz_gateway.upstream.transport import OllamaTransport
from tests.support.fake_ollama import FakeOllama, Fault, Script, Seen
from tests.support.load import Gateway
from tests.support.valid_bodies import INFERRING, saying

# What becomes of a request is chosen by its model.
FATES: dict[str, Script] = {
    "ok": Script(tokens=7),
    "slow": Script(tokens=12, gap_seconds=0.004),
    "waits": Script(tokens=3, delay_before_head_seconds=0.03),
    "no-usage": Script(tokens=7, omit_usage=True),
    "zero-usage": Script(tokens=7, zero_usage=True),
    "less-usage": Script(tokens=7, reported_output_tokens=2),
    "refuses": Script(status=404),
    "fails": Script(status=500),
    "busy": Script(status=503),
    "ends": Script(tokens=7, fault=Fault.SILENT_END, fault_after_records=3),
    "dies": Script(tokens=7, fault=Fault.ERROR_RECORD, fault_after_records=3),
    "resets": Script(tokens=7, fault=Fault.RESET, fault_after_records=3),
    "resets-at-once": Script(tokens=7, fault=Fault.RESET),
    "closes": Script(tokens=7, fault=Fault.CLOSE_MID_CHUNK, fault_after_records=2),
    "garbles": Script(tokens=7, fault=Fault.GARBAGE, fault_after_records=4),
    "breaks-framing": Script(tokens=7, fault=Fault.GARBAGE_FRAMING, fault_after_records=2),
    "overruns": Script(tokens=5, overrun_tokens=60),
}
UNKNOWN, FORBIDDEN = "nobody-has-it", "forbidden"
MARK = re.compile(rb"#([0-9]+)#")
_ASKED_TOKENS = 20


@dataclass(slots=True)
class Told:
    """What the callers themselves saw."""

    sent: list[int] = field(default_factory=list)
    left: int = 0
    broken: int = 0
    statuses: dict[int, int] = field(default_factory=dict)  # by the number of the request


def install(ollama: FakeOllama) -> tuple[str, ...]:
    """Puts the fates into the fake; the models that callers may use."""
    ollama.models = tuple(f"{name}:latest" for name in (*FATES, FORBIDDEN))
    for name, script in FATES.items():
        ollama.for_model(f"{name}:latest", script)
    return (*(f"{name}:latest" for name in FATES), f"{UNKNOWN}:latest")


def number_in(seen: Seen) -> int | None:
    found = MARK.search(seen.body)
    return int(found[1]) if found else None


def hits_by_number(ollama: FakeOllama) -> dict[int, list[Seen]]:
    hits: dict[int, list[Seen]] = {}
    for seen in ollama.hits:
        number = number_in(seen)
        assert number is not None, seen.body
        hits.setdefault(number, []).append(seen)
    return hits


def _request(dice: random.Random, number: int) -> tuple[Endpoint, dict[str, Any] | bytes | None]:
    """A method, a path and a body: nearly always one that goes up."""
    endpoint = dice.choice(INFERRING if dice.random() < 0.9 else ENDPOINTS)
    if endpoint.inference is None:
        return endpoint, {"model": "ok"} if endpoint.asks else None
    model = dice.choice((*FATES, *FATES, UNKNOWN, FORBIDDEN))
    body = saying(endpoint, f"#{number}# says something", model=model, stream=dice.random() < 0.6)
    for place in ("max_tokens", "max_output_tokens", "options"):
        if dice.random() < 0.5:
            body[place] = {"num_predict": _ASKED_TOKENS} if place == "options" else _ASKED_TOKENS
    if dice.random() < 0.03:
        return endpoint, b'{"model":"ok","model":"ok"}'
    return endpoint, body


async def mixed_load(gateways: Sequence[Gateway], key: str, count: int, *, seed: int, lanes: int = 16) -> Told:
    """So many requests, one after another in each lane; a third of their callers leave at a random moment."""
    dice, told, turns = random.Random(seed), Told(), iter(range(count))

    async def one(http: httpx.AsyncClient, number: int) -> None:
        endpoint, body = _request(dice, number)
        content = {"content": body} if isinstance(body, bytes) else {"json": body} if body is not None else {}
        path = endpoint.path.replace("{model}", "ok")
        patience = dice.random() * 0.08 if dice.random() < 0.33 else 30
        told.sent.append(number)
        try:
            async with asyncio.timeout(patience):
                answer = await http.request(endpoint.method, path, headers={"x-request-id": f"n-{number}"}, **content)
                told.statuses[number] = answer.status_code
        except TimeoutError:
            told.left += 1
        except httpx.TransportError:
            told.broken += 1

    async def lane(gateway: Gateway) -> None:
        async with gateway.http(key, transport=OllamaTransport()) as http:
            for number in turns:
                with contextlib.suppress(httpx.TransportError):
                    await one(http, number)

    async with AsyncExitStack():
        await asyncio.gather(*(lane(gateways[place % len(gateways)]) for place in range(lanes)))
    return told
