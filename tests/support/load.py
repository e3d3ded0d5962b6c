"""Many callers at once, spread over several gateways."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any, Protocol

import httpx

from neuronetz_gateway.upstream.transport import OllamaTransport

CHAT: dict[str, Any] = {"model": "fakea", "messages": [{"role": "user", "content": "Hello"}], "stream": False}


class Gateway(Protocol):
    @property
    def base_url(self) -> str: ...
    def http(self, key: str | None = None, **options: Any) -> httpx.AsyncClient: ...


async def statuses_of(
    gateways: Sequence[Gateway], key: str, count: int, *, body: dict[str, Any] | None = None, at_once: int = 200
) -> Counter[int]:
    """Send `count` requests, `at_once` under way, round about; how often each status came back."""
    seen: Counter[int] = Counter()
    turns = iter(range(count))
    async with AsyncExitStack() as closing:
        # httpx's own transport takes milliseconds of CPU a request at 200 connections, in the loop of the gateway
        clients = [
            await closing.enter_async_context(gateway.http(key, transport=OllamaTransport())) for gateway in gateways
        ]

        async def work() -> None:
            for turn in turns:
                answer = await clients[turn % len(clients)].post("/api/chat", json=body or CHAT)
                seen[answer.status_code] += 1

        await asyncio.gather(*(work() for _ in range(min(at_once, count))))
    return seen


async def leave_at_random(gateway: Gateway, key: str, count: int, *, seed: int, within_seconds: float) -> int:
    """Start `count` streams one after another in ten lanes, leave each at a random moment; how many were left."""
    chosen, left = random.Random(seed), 0
    turns = iter(range(count))

    async def lane(http: httpx.AsyncClient) -> None:
        nonlocal left
        for turn in turns:
            body = {**CHAT, "stream": turn % 3 != 0}
            try:
                async with asyncio.timeout(chosen.random() * within_seconds):
                    async with http.stream("POST", "/api/chat", json=body) as answer:
                        async for _ in answer.aiter_raw():
                            pass
            except TimeoutError:
                left += 1

    async with AsyncExitStack() as closing:
        lanes = [await closing.enter_async_context(gateway.http(key, transport=OllamaTransport())) for _ in range(10)]
        await asyncio.gather(*(lane(http) for http in lanes))
    return left
