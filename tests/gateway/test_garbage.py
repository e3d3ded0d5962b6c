"""What an ordinary request leaves behind: nothing that only a collection would find."""

import asyncio
import gc
from collections import Counter
from typing import Any

import pytest

from tests.support.factories import make_tenancy
from tests.support.gateways import LiveGateway
from tests.support.load import CHAT

REQUESTS = 20
PATHS = {"/api/chat": b'"done":true', "/v1/chat/completions": b"[DONE]", "/v1/messages": b"message_stop"}


@pytest.mark.promise("O2")
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("path", PATHS)
async def test_a_request_leaves_no_circle_behind(gateway: LiveGateway, path: str, streamed: bool) -> None:
    """A request and its passage held each other, with its connection behind them: 5 KiB each until a collection, which
    comes the later the more there is in memory. Five thousand idle callers made of it 5 MiB for each 1,000 requests."""
    tenancy = await make_tenancy(gateway.services)
    body: dict[str, Any] = {**CHAT, "stream": streamed, "max_tokens": 5}

    async def ask(times: int) -> None:
        for _ in range(times):
            async with gateway.http(tenancy.key) as http:
                answer = await http.post(path, json=body)
                assert answer.status_code == 200
                assert not streamed or PATHS[path] in answer.content

    await ask(3)
    await asyncio.sleep(0.1)
    gc.freeze()  # looks at nothing that was there before, which is most of what a test run holds
    gc.disable()
    try:
        gc.set_debug(gc.DEBUG_SAVEALL)
        await ask(REQUESTS)
        await asyncio.sleep(0.2)  # settlements and ends of admissions are on their way
        gc.collect()
        ours = Counter(
            kind.__name__ for kind in map(type, gc.garbage) if kind.__module__.startswith(("neuronetz_", "uvicorn."))
        )
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.unfreeze()
        gc.enable()
    assert not ours
