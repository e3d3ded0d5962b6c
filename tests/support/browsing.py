"""A real Chromium on the pages of a gateway, with an ear for all that it complains of."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright, expect

CHROMIUM = shutil.which("chromium")
NO_CHROMIUM = "There is no chromium on the PATH: scripts/install-browser brings Debian's."
expect.set_options(timeout=20_000)  # of machines that do much else meanwhile
_WORDS = (
    "--no-sandbox",  # root may not have one; nothing is loaded here but our own pages
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# What Chromium says by itself of an answer of 400 or more, or of one that breaks off; neither is a fault of the page.
_REFUSED = (
    "Failed to load resource: the server responded with a status of",
    "Failed to load resource: net::ERR_INCOMPLETE_CHUNKED_ENCODING",
)


@dataclass  # without slots: playwright hangs its own attributes on whose method listens
class Sheet:
    """A page, what the browser complained of on it, how many refusals it was given."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    refusals: int = 0

    def _hear(self, message: ConsoleMessage) -> None:
        if message.text.startswith(_REFUSED):
            self.refusals += 1
        elif message.type in {"error", "warning", "assert"}:
            self.complaints.append(message.text)

    def listen(self) -> None:
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    async def enter(self, key: str) -> None:
        """Give the key and wait until the models are listed."""
        await self.page.get_by_label("Key", exact=True).fill(key)
        await self.page.get_by_role("button", name="Enter").click()
        await expect(self.page.get_by_label("Model").locator("option")).not_to_have_count(0)

    async def forget(self) -> None:
        """Back to where a key is asked for, with all that came of the last one gone."""
        button = self.page.get_by_role("button", name="Forget key")
        if await button.is_visible():
            await button.click()
        await self.page.get_by_label("Key", exact=True).fill("")

    async def choose(self, surface: str) -> None:
        await self.page.get_by_role("radio", name=surface).check()

    async def ask(self, question: str) -> None:
        await self.page.get_by_label("Question").fill(question)
        await self.page.get_by_label("Question").press("Enter")

    async def says(self, words: str) -> None:
        """Wait until the status line has these words."""
        await expect(self.page.get_by_role("status")).to_contain_text(words)

    async def last_answer(self) -> str:
        return await self.page.locator(".answer .words").last.inner_text()


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(_WORDS))
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def sheet(browser: Browser, url: str, **options: Any) -> AsyncIterator[Sheet]:
    """A page of its own, with storage, cookies and settings of its own, at an address."""
    context = await browser.new_context(**options)
    try:
        opened = Sheet(await context.new_page())
        opened.listen()
        await opened.page.goto(url)
        yield opened
    finally:
        await context.close()
