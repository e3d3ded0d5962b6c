"""Draws docs/images: the pages as a person sees them, with a conversation of the fake Ollama."""

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from playwright.async_api import Browser

from neuronetz_gateway.db.migrating import migrate
from neuronetz_gateway.domain.budget import Period
from neuronetz_gateway.domain.limit import Limits
from neuronetz_gateway.embedded.postgres import EmbeddedPostgres
from neuronetz_gateway.embedded.valkey import EmbeddedValkey
from neuronetz_gateway.observability.logging import configure_logging
from tests.support.browsing import Sheet, chromium, sheet
from tests.support.fake_ollama import FakeOllama, Script
from tests.support.gateways import LiveGateway, live_gateway
from tests.support.stores import Stores

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
WIDE = {"viewport": {"width": 1280, "height": 800}}
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "has_touch": True, "is_mobile": True}
MODELS = ("llama3.2:3b", "qwen3:8b", "nomic-embed-text:latest")
WHY_BLUE = """\
Sunlight holds every colour, and the molecules of the air scatter short waves far more strongly than long ones. \
So blue light reaches your eye from every part of the sky, while red passes nearly straight through."""
WHY_RED = """\
In the evening the light crosses many times more air before it reaches you. Nearly all of the blue is scattered out of \
its way by then, and what is left is orange and red.

Dust and smoke deepen it: the most vivid sunsets follow dry weather, fires, or a volcano somewhere upwind."""
TALK = {"Why is the sky blue? Two sentences, please.": WHY_BLUE, "And why is the sunset red, then?": WHY_RED}


async def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    configure_logging("error")
    async with scene() as (gateway, ollama, browser):
        key = await make_key(gateway)
        for name, options in (
            ("playground-light", WIDE),
            ("playground-dark", {**WIDE, "color_scheme": "dark"}),
            ("playground-phone", PHONE),
        ):
            async with sheet(browser, f"{gateway.base_url}/playground", **options) as opened:
                await talk(opened, key, ollama)
                await save(opened, name, full_page=True)
        async with sheet(browser, gateway.base_url, **WIDE) as opened:
            await save(opened, "landing", full_page=True)


@asynccontextmanager
async def scene() -> AsyncIterator[tuple[LiveGateway, FakeOllama, Browser]]:
    """A gateway with its pages, on stores of its own."""
    with tempfile.TemporaryDirectory() as folder:
        postgres = EmbeddedPostgres(Path(folder) / "postgres", durable=False)
        valkey = EmbeddedValkey(Path(folder) / "valkey", durable=False)
        postgres.start()
        valkey.start()
        try:
            await asyncio.to_thread(migrate, postgres.url)
            stores = Stores(postgres.url, valkey.url)
            async with (
                FakeOllama(models=MODELS) as ollama,
                live_gateway(stores, ollama.base_url, playground_enabled=True) as gateway,
                chromium() as browser,
            ):
                yield gateway, ollama, browser
        finally:
            valkey.stop()
            postgres.stop()


async def make_key(gateway: LiveGateway) -> str:
    limits = Limits(rpm=60, tpm=60_000, concurrent=4)
    await gateway.services.tenants.create("acme", allow_all_models=True, models=frozenset(), limits=limits)
    await gateway.services.budgets.set_for_tenant("acme", {Period.DAILY: 20_000, Period.MONTHLY: 250_000})
    issued = await gateway.services.api_keys.issue("acme", "laptop", limits=Limits(rpm=20))
    return issued.plain.value


async def talk(opened: Sheet, key: str, ollama: FakeOllama) -> None:
    await opened.enter(key)
    await opened.page.get_by_text("Options").click()
    await opened.page.get_by_label("Max tokens").fill("9000")
    await opened.page.get_by_text("Options").click()
    for question, answer in TALK.items():
        words = tuple(re.findall(r"\s*\S+", answer))
        ollama.next(Script(words=words, tokens=len(words), gap_seconds=0.022, delay_before_head_seconds=0.24))
        await opened.ask(question)
        await opened.says("Answered")
    await opened.page.get_by_text("reserved").wait_for(state="detached")


async def save(opened: Sheet, name: str, **options: Any) -> None:
    await opened.page.screenshot(path=IMAGES / f"{name}.png", **options)
    print(f"docs/images/{name}.png", *opened.complaints)


if __name__ == "__main__":
    asyncio.run(main())
