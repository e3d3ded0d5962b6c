"""The pages as they are seen and read aloud, also where a model means harm or a network cuts anywhere."""

import asyncio
import subprocess
import sys
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, Route, expect

from neuronetz_gateway.domain.limit import Limits
from tests.support.browsing import Sheet, sheet
from tests.support.factories import make_tenancy
from tests.support.fake_ollama import FakeOllama, Script
from tests.support.gateways import LiveGateway

pytestmark = pytest.mark.asyncio(loop_scope="module")

PHONE_PX = 360
LOOKS: tuple[dict[str, bool], ...] = ({}, {"dark": True, "phone": True})
HOSTILE = (
    "<img src=x onerror=\"document.title='owned'\">", "<script>document.title='owned'</script>", "</div></li>",
    "\x1b[31mred\x07\x00", "\u202eabc\u2066", "&lt;b&gt;", "\nlast line\t.",
)  # fmt: skip
SHOWN = (
    "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script></div></li>"
    "\u241b[31mred\u2407\u2400⟨U+202E⟩abc⟨U+2066⟩&lt;b&gt;\nlast line\t."
)
CUT_ANYWHERE = """async () => {
    const { JsonLines, ServerSentEvents } = await import("/playground/records.js");
    const bytes = (text) => new TextEncoder().encode(text);
    const read = (Reader, pieces) => {
        const reader = new Reader();
        return JSON.stringify([...pieces.flatMap((piece) => reader.push(piece)), ...reader.end()]);
    };
    const streams = [
        [JsonLines, '{"a":"東京"}\\n\\n{"b":"🙂 d\\u00f6ner"}\\r\\n{"c":1}', 3],
        [JsonLines, '\\ufeff{"a":1}\\n', 1],
        [ServerSentEvents, 'event: one\\ndata: {"a":"🙂"}\\n\\n: a comment\\ndata: two\\ndata:  lines\\n\\n', 2],
        [ServerSentEvents, '\\ufeffdata: 東\\r\\n\\r\\nid: 7\\r\\ndata\\r\\n\\r\\ndata: [DONE]\\r\\n\\r\\n', 3],
        [ServerSentEvents, 'event: x\\rdata: y\\r\\rdata: not whole\\n', 1],
    ];
    const wrong = [];
    for (const [Reader, text, records] of streams) {
        const all = bytes(text);
        const whole = read(Reader, [all]);
        if (JSON.parse(whole).length !== records) wrong.push([text, whole]);
        const apart = [[...all].map((_, at) => all.slice(at, at + 1))];
        for (let at = 0; at <= all.length; at += 1) apart.push([all.slice(0, at), all.slice(at)]);
        for (const pieces of apart) if (read(Reader, pieces) !== whole) wrong.push([text, pieces.map(String)]);
    }
    return wrong;
}"""
READ = """async () => {
    const { ServerSentEvents } = await import("/playground/records.js");
    const reader = new ServerSentEvents();
    return reader.push(new TextEncoder().encode("event: one\\ndata: {\\ndata:  }\\nother: x\\n\\ndata: z\\n\\n"));
}"""
TOO_LONG = """async () => {
    const { Lines, MOST_CHARACTERS } = await import("/playground/lines.js");
    const lines = new Lines(), piece = new Uint8Array(1024 * 1024).fill(65);
    let taken = 0;
    try {
        for (; taken < 2 * MOST_CHARACTERS; taken += piece.length) lines.push(piece);
    } catch (error) {
        return [error.name, taken === MOST_CHARACTERS];
    }
}"""
WRITTEN = """async () => {
    const { duration, counted, rate, moment } = await import("/playground/texts.js");
    const now = new Date(2026, 5, 1, 9, 30);
    return [
        ...[0.24, 1.2, 9.96, 41.2, 300, 40000].map(duration), counted(1, "token"), counted(1234, "token"), rate(null),
        rate(41.25), moment(new Date(2026, 5, 1, 17, 5), now), moment(new Date(2026, 5, 3), now),
    ];
}"""


async def findings(page: Page) -> list[str]:
    """What axe-core has against a page as it stands."""
    report = (await Axe().run(page)).response
    return [f"{each['id']}: {node['html']}" for each in report["violations"] for node in each["nodes"]]


async def sees(page: Page, *, dark: bool = False, phone: bool = False) -> None:
    await page.emulate_media(color_scheme="dark" if dark else "light")
    await page.set_viewport_size({"width": PHONE_PX if phone else 1280, "height": 740})


async def test_nobody_is_kept_from_the_landing_page(browser: Browser, gateway: LiveGateway) -> None:
    async with sheet(browser, gateway.base_url) as opened:
        assert await opened.page.title() == "neuronetz-gateway"
        for look in LOOKS:
            await sees(opened.page, **look)
            assert await findings(opened.page) == [], look
        assert await opened.page.evaluate("document.documentElement.scrollWidth") <= PHONE_PX
        for name in ("ollama-base", "openai-code", "account-code"):
            assert gateway.base_url in await opened.page.locator(f"#{name}").inner_text()
        await opened.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        await opened.page.get_by_role("button", name="Copy the base URL for OpenAI").click()
        await expect(opened.page.get_by_role("button", name="Copied")).to_be_visible()
        assert await opened.page.evaluate("navigator.clipboard.readText()") == f"{gateway.base_url}/v1"
        await opened.page.get_by_role("link", name="Try a key").click()
        await expect(opened.page.get_by_label("Key", exact=True)).to_be_visible()
        assert opened.complaints == []


@pytest.mark.full
@pytest.mark.parametrize("protocol", ["ollama", "openai", "anthropic"])
async def test_the_programs_of_the_landing_page_run_as_they_are_shown(
    browser: Browser, gateway: LiveGateway, ollama: FakeOllama, protocol: str
) -> None:
    ollama.script = Script(words=("amber", " basin"), tokens=2)
    async with sheet(browser, gateway.base_url) as opened:
        program = await opened.page.locator(f"#{protocol}-code").inner_text()
    key = (await make_tenancy(gateway.services)).key
    program = program.replace("YOUR_KEY", key).replace("YOUR_MODEL", "fakea")
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=subprocess.PIPE)
    out, _ = await process.communicate()
    assert out.decode().strip() == "amber basin"


async def test_nobody_is_kept_from_the_playground(opened: Sheet, gateway: LiveGateway, ollama: FakeOllama) -> None:
    ollama.next(Script(words=("amber",), thoughts=("why ", "not"), tokens=30, gap_seconds=0.01))
    await sees(opened.page)
    assert await findings(opened.page) == []
    await opened.enter((await make_tenancy(gateway.services, key_limits=Limits(rpm=2))).key)
    await opened.page.get_by_text("Options").click()
    await opened.page.get_by_label("Max tokens").fill("9000")
    await opened.ask("Say it.")
    await opened.says("Answered")
    await opened.page.get_by_text("Thinking").click()
    await opened.ask("Say it again.")
    await opened.says("Rate limit")
    for look in LOOKS:
        await sees(opened.page, **look)
        assert await findings(opened.page) == [], look
    assert await opened.page.evaluate("document.documentElement.scrollWidth") <= PHONE_PX
    await sees(opened.page)


async def test_what_a_model_says_is_text_whatever_it_says(
    opened: Sheet, gateway: LiveGateway, ollama: FakeOllama
) -> None:
    await opened.enter((await make_tenancy(gateway.services)).key)
    for surface in ("Ollama", "OpenAI", "Anthropic"):
        ollama.next(Script(words=HOSTILE, tokens=len(HOSTILE), thoughts=HOSTILE[:1]))
        await opened.choose(surface)
        await opened.ask("Be hostile.")
        await opened.says("Answered")
        assert await opened.last_answer() == SHOWN
        await opened.page.get_by_role("button", name="New chat").click()
    assert await opened.page.evaluate("document.querySelectorAll('main img, main script').length") == 0
    assert await opened.page.title() == "Playground · neuronetz-gateway"


@pytest.mark.parametrize("letters", [200_000, pytest.param(1_000_000, marks=pytest.mark.full)])
async def test_one_endless_word_does_not_hold_the_browser_up(
    opened: Sheet, gateway: LiveGateway, ollama: FakeOllama, letters: int
) -> None:
    """As one run of text 300,000 letters took it 45 s to break into lines, on a busy machine."""
    ollama.next(Script(words=("A" * letters,), tokens=1, thoughts=HOSTILE[:2]))
    await opened.enter((await make_tenancy(gateway.services)).key)
    await opened.ask("Say one long word.")
    await opened.says("Answered")
    assert await opened.last_answer() == "A" * letters
    assert await opened.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


async def test_a_refusal_that_means_harm_is_text_too(opened: Sheet, gateway: LiveGateway) -> None:
    """A proxy in between, or another server at this address, may answer anything."""

    async def hostile(route: Route) -> None:
        body = '{"error": {"message": "<img src=x onerror=alert(1)>\\u202e", "code": "<b>"}}'
        await route.fulfill(status=418, body=body, headers={"x-request-id": "<i>"})

    await opened.enter((await make_tenancy(gateway.services)).key)
    await opened.page.route("**/api/chat", hostile)
    await opened.ask("Be hostile.")
    await expect(opened.page.locator(".notice")).to_contain_text("Refused (418)<img src=x onerror=alert(1)>⟨U+202E⟩")
    await opened.page.unroute("**/api/chat")
    await opened.page.route("**/api/chat", lambda route: route.fulfill(status=502, body="<html>Bad Gateway</html>"))
    await opened.ask("Be another.")
    await expect(opened.page.locator(".notice").last).to_contain_text("The gateway answered 502, without a word.")
    await opened.page.unroute("**/api/chat")
    await opened.page.route("**/api/chat", lambda route: route.fulfill(status=200, body='{"done":'))
    await opened.ask("Be broken.")
    await expect(opened.page.locator(".notice").last).to_contain_text("A record of the answer could not be read.")
    await opened.page.unroute("**/api/chat")


async def test_a_model_that_cannot_chat_says_so(opened: Sheet, gateway: LiveGateway) -> None:
    """Where the model server lists what its models can; else its own refusal is shown."""
    entries: list[dict[str, Any]] = [
        {"name": "nomic-embed-text", "capabilities": ["embedding"]},
        {"name": "fakea", "capabilities": ["completion", "tools"]},
    ]
    await opened.page.route("**/api/tags", lambda route: route.fulfill(json={"models": entries}))
    await opened.enter((await make_tenancy(gateway.services)).key)
    await expect(opened.page.get_by_label("Model")).to_have_value("fakea")
    await expect(opened.page.get_by_role("option", name="nomic-embed-text (no chat)")).to_be_disabled()
    await opened.page.unroute("**/api/tags")


async def test_records_are_read_wherever_the_network_cuts_them(opened: Sheet) -> None:
    assert await opened.page.evaluate(CUT_ANYWHERE) == []
    assert await opened.page.evaluate(READ) == [{"event": "one", "data": "{\n }"}, {"event": "message", "data": "z"}]
    assert await opened.page.evaluate(TOO_LONG) == ["RangeError", True]


async def test_figures_are_written_for_people(opened: Sheet) -> None:
    assert await opened.page.evaluate(WRITTEN) == [
        "240 ms", "1.2 s", "10.0 s", "42 s", "5 min", "11 h", "1 token", "1,234 tokens", "–",
        "41.3", "17:05", "3 Jun, 00:00",
    ]  # fmt: skip
