"""The playground in a real Chromium, before a real gateway: what a person does, what the model server sees of it."""

import asyncio
import re

import pytest
from playwright.async_api import Browser, expect

from neuronetz_gateway.domain.budget import Period
from neuronetz_gateway.domain.limit import Limits
from tests.support.browsing import Sheet, sheet
from tests.support.factories import make_tenancy
from tests.support.fake_ollama import Ended, FakeOllama, Fault, Script
from tests.support.fake_ollama_script import busy
from tests.support.gateways import LiveGateway

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATHS = {"Ollama": "/api/chat", "OpenAI": "/v1/chat/completions", "Anthropic": "/v1/messages"}
RECORDS_BEFORE_TEXT = {"Ollama": 0, "OpenAI": 0, "Anthropic": 2}
WORDS = ("amber", " basin", " cedar", " döner", " 東京", " 🙂")
SAID = Script(words=WORDS, tokens=6, prompt_tokens=11)
ENDLESS = Script(words=("amber", " basin"), tokens=400, fault=Fault.HANG, fault_after_records=2)
LEFTOVERS = """() => JSON.stringify([
    {...localStorage}, {...sessionStorage}, document.cookie, location.href, history.length, window.name,
    document.documentElement.outerHTML, [...document.querySelectorAll("input, textarea")].map((each) => each.value),
])"""
IS_OUTLINED = (
    """(at) => [at, at.nextElementSibling].some((each) => each && getComputedStyle(each).outlineStyle !== "none")"""
)


async def test_a_key_that_is_not_accepted_is_told_so(opened: Sheet, ollama: FakeOllama) -> None:
    for wrong, told in (("nz_AbCdEfGhI" + "x" * 32, "The key is not accepted"), ("schlüssel", "That is no key")):
        await opened.page.get_by_label("Key", exact=True).fill(wrong)
        await opened.page.get_by_role("button", name="Enter").click()
        await expect(opened.page.get_by_role("alert").filter(has_text=told)).to_be_visible()
    await expect(opened.page.get_by_label("Question")).to_be_hidden()
    assert ollama.requests == []


@pytest.mark.parametrize("surface", PATHS)
async def test_a_chat_streams_on_each_surface(
    opened: Sheet, gateway: LiveGateway, ollama: FakeOllama, surface: str
) -> None:
    """The gate opens once the first words stand on the page: one that waited for the end would wait for ever."""
    tenancy = await make_tenancy(gateway.services, models=["fakea:latest", "qwen3:8b"])
    gate, held = asyncio.Event(), RECORDS_BEFORE_TEXT[surface] + 3
    ollama.next(Script(words=WORDS, tokens=6, prompt_tokens=11, gate=gate, gate_after_records=held), SAID)
    await opened.enter(tenancy.key)
    await opened.choose(surface)
    await expect(opened.page.get_by_label("Model").locator("option")).to_have_text(["fakea:latest", "qwen3:8b"])
    await opened.page.get_by_label("Model").select_option("qwen3:8b")
    await opened.ask("Say six words.")
    await expect(opened.page.locator(".answer .words").last).to_contain_text("amber basin")
    gate.set()
    await opened.says("Answered: 6 tokens")
    assert await opened.last_answer() == "".join(WORDS)
    await expect(opened.page.locator(".figures")).to_contain_text("6 tokens · first after")
    assert "first token after" in (await opened.page.locator("#plot title").text_content() or "")
    await opened.ask("And again?")
    await expect(opened.page.locator(".figures")).to_contain_text(["6 tokens", "6 tokens"])
    assert [(hit.route, hit.model) for hit in ollama.hits] == [(PATHS[surface], "qwen3:8b")] * 2
    turns = [turn["content"] for turn in ollama.hits[1].json["messages"]]
    assert turns == ["Say six words.", "".join(WORDS), "And again?"]


@pytest.mark.promise("S1")
async def test_an_answer_that_is_not_wanted_any_more_is_not_generated_on(
    opened: Sheet, gateway: LiveGateway, ollama: FakeOllama
) -> None:
    ollama.script = ENDLESS
    await opened.enter((await make_tenancy(gateway.services)).key)
    for number, way in enumerate(("Stop", "Escape", "Forget key")):
        await opened.ask("Go on for ever.")
        await expect(opened.page.locator(".answer .words").last).to_contain_text("amber basin")
        if way == "Escape":
            await opened.page.keyboard.press("Escape")
        else:
            await opened.page.get_by_role("button", name=way).click()
        await ollama.wait_for(lambda number=number: ollama.hits[number].ended is Ended.CALLER_LEFT)  # type: ignore[misc]
        if way != "Forget key":
            await opened.says("Stopped")
            assert await opened.last_answer() == "amber basin"
            await expect(opened.page.get_by_role("button", name="Send")).to_be_visible()
    await expect(opened.page.locator("#turns")).to_be_empty()
    assert len(ollama.hits) == 3


async def test_what_the_gateway_adjusted_is_named(opened: Sheet, gateway: LiveGateway, ollama: FakeOllama) -> None:
    ollama.script = SAID
    await opened.enter((await make_tenancy(gateway.services, key_limits=Limits(output_cap=50))).key)
    await opened.page.get_by_text("Options").click()
    await opened.page.get_by_label("System prompt").fill("Be brief.")
    await opened.page.get_by_label("Temperature").fill("0.2")
    await opened.page.get_by_label("Max tokens").fill("60")
    for surface, field in (("Ollama", "options.num_predict"), ("OpenAI", "max_tokens"), ("Anthropic", "max_tokens")):
        await opened.choose(surface)
        await opened.ask("Say six words.")
        await opened.says("Answered")
        await expect(opened.page.locator(".adjusted").last).to_have_text(f"Adjusted by the gateway: {field}")
        await opened.page.get_by_role("button", name="New chat").click()
    native, openai, anthropic = (hit.json for hit in ollama.hits)
    assert native["options"] == {"temperature": 0.2, "num_predict": 50}
    assert native["messages"][0] == openai["messages"][0] == {"role": "system", "content": "Be brief."}
    assert (
        (openai["temperature"], openai["max_tokens"])
        == (anthropic["temperature"], anthropic["max_tokens"])
        == (0.2, 50)
    )
    assert anthropic["system"] == "Be brief."


async def test_bars_show_what_the_account_says(opened: Sheet, gateway: LiveGateway, ollama: FakeOllama) -> None:
    ollama.script = SAID
    limits = Limits(rpm=10, tpm=90_000, concurrent=2)
    await opened.enter((await make_tenancy(gateway.services, key_limits=limits, budget={Period.DAILY: 20_000})).key)
    await opened.ask("Say six words.")
    bars = {
        "Tenant · tokens a day": ("17", "20000"),
        "Key · requests a minute": ("2", "10"),  # the list of models was one of them
        "Key · tokens a minute": ("17", "90000"),
        "Key · requests at once": ("0", "2"),
    }
    for name, (used, limit) in bars.items():
        meter = opened.page.get_by_role("meter", name=name)
        await expect(meter).to_have_js_property("value", int(used))
        await expect(meter).to_have_attribute("max", limit)
    await expect(opened.page.get_by_role("meter")).to_have_count(len(bars))
    await expect(opened.page.get_by_role("row", name="fakea:latest 1 17")).to_be_visible()


@pytest.mark.promise("A7")
async def test_a_key_is_nowhere_but_in_memory_and_leaves_it(
    browser: Browser, gateway: LiveGateway, ollama: FakeOllama
) -> None:
    ollama.script = SAID
    key = (await make_tenancy(gateway.services)).key
    async with sheet(browser, f"{gateway.base_url}/playground") as opened:
        field, asked = opened.page.get_by_label("Key", exact=True), list[str]()
        assert [await field.get_attribute(name) for name in ("type", "autocomplete", "name")] == [
            "password",
            "off",
            None,
        ]
        opened.page.on("request", lambda request: asked.append(request.url))
        await opened.enter(key)
        await opened.ask("Say six words.")
        await opened.says("Answered")
        kept = await opened.page.evaluate(LEFTOVERS)
        await opened.forget()
        await expect(field).to_be_focused()
        left = await opened.page.evaluate(LEFTOVERS)
        assert ["amber" in said for said in (kept, left)] == [True, False]
        for said in (kept, left):
            assert key not in said
            assert said.startswith('[{},{},"","http://127.0.0.1')
        assert await opened.page.context.cookies() == []
        assert not any(key in url or "?" in url for url in asked)
        ollama.script = ENDLESS
        await opened.enter(key)
        await opened.ask("Go on for ever.")
        await expect(opened.page.locator(".answer .words").last).to_contain_text("amber basin")
        await opened.page.goto(gateway.base_url)
        await ollama.wait_for(lambda: ollama.hits[1].ended is Ended.CALLER_LEFT)
        await opened.page.go_back()
        await expect(field).to_have_value("")
        assert opened.complaints == []


async def test_everything_can_be_done_by_the_keyboard(opened: Sheet, gateway: LiveGateway, ollama: FakeOllama) -> None:
    ollama.script = SAID
    keys, focused, question = opened.page.keyboard, opened.page.locator(":focus"), opened.page.get_by_label("Question")
    await opened.page.get_by_role("link", name="neuronetz-gateway").focus()
    await keys.press("Tab")
    await keys.insert_text((await make_tenancy(gateway.services)).key)
    await keys.press("Enter")
    await expect(question).to_be_focused()
    await expect(opened.page.get_by_label("Model").locator("option")).not_to_have_count(0)
    await keys.type("one")
    await keys.press("Shift+Enter")
    await keys.type("two")
    await keys.press("Enter")
    await opened.says("Answered")
    await expect(question).to_be_focused()
    assert ollama.hits[0].json["messages"][0]["content"] == "one\ntwo"
    met = []
    for _ in range(6):
        await keys.press("Shift+Tab")
        met.append(await focused.evaluate("(at) => at.id || at.value || at.tagName"))
        assert await focused.evaluate(IS_OUTLINED), met
    assert met == ["conversation", "SUMMARY", "new-chat", "model", "ollama", "forget"]
    await keys.press("Tab")
    await keys.press("ArrowRight")
    await expect(opened.page.get_by_role("radio", name="OpenAI")).to_be_checked()


async def test_a_rate_limit_is_told_with_the_time_to_wait(
    opened: Sheet, gateway: LiveGateway, ollama: FakeOllama
) -> None:
    ollama.script = SAID
    await opened.enter((await make_tenancy(gateway.services, key_limits=Limits(rpm=3))).key)  # two lists, one chat
    await opened.ask("Say six words.")
    await opened.says("Answered")
    await opened.choose("OpenAI")
    await expect(opened.page.get_by_label("Model").locator("option")).to_have_count(5)
    for number, surface in enumerate(("OpenAI", "Anthropic", "Ollama")):
        await opened.choose(surface)
        await opened.ask("Once more.")
        await expect(opened.page.locator(".notice")).to_have_count(number + 1)
        notice = opened.page.locator(".notice").last
        await expect(notice).to_contain_text("Rate limit reached for this key:")
        await expect(notice.get_by_role("button", name=re.compile(r"Try again in \d+ s"))).to_be_disabled()
    assert len(ollama.hits) == 1


async def test_a_spent_budget_is_told_as_one(opened: Sheet, gateway: LiveGateway, ollama: FakeOllama) -> None:
    ollama.script = Script(words=WORDS, tokens=6, prompt_tokens=900)
    await opened.enter((await make_tenancy(gateway.services, budget={Period.DAILY: 1_500})).key)
    await opened.ask("Say six words.")
    await opened.says("Answered")
    for surface in PATHS:
        await opened.page.get_by_role("button", name="New chat").click()
        await opened.choose(surface)
        await opened.ask("Say six words.")
        notice = opened.page.locator(".notice")
        await expect(notice).to_contain_text("The budget is spent")
        await expect(notice).to_contain_text("It is renewed at ")
        await expect(notice.get_by_role("button")).to_have_count(0)
    assert len(ollama.hits) == 1


async def test_a_model_server_that_fails_is_told_and_may_be_asked_again(
    opened: Sheet, gateway: LiveGateway, ollama: FakeOllama
) -> None:
    gate = asyncio.Event()  # what a browser has not read when the connection breaks, it drops
    broken = Script(words=WORDS, tokens=6, fault=Fault.RESET, fault_after_records=3, gate=gate, gate_after_records=3)
    ollama.next(Script(status=400, error='"fakea" does not support chat'), broken, busy(), Script(status=500), SAID)
    notice = opened.page.locator(".notice").last
    await opened.enter((await make_tenancy(gateway.services)).key)
    await opened.ask("Say six words.")
    await expect(notice).to_contain_text("This model has no chat: choose another one.")
    await opened.ask("Say six words.")
    await expect(opened.page.locator(".answer > .words").last).to_contain_text("cedar")
    gate.set()
    await opened.says("The answer broke off")
    assert await opened.last_answer() == "amber basin cedar"
    await opened.ask("Go on.")
    await expect(notice).to_contain_text("Not available just now")
    await opened.ask("Go on.")
    await expect(notice).to_contain_text("The model server failed")
    await notice.get_by_role("button", name="Try again", exact=True).click()
    await opened.says("Answered: 6 tokens")
    await expect(opened.page.locator(".question")).to_have_count(4)
    assert [turn["content"] for turn in ollama.hits[-1].json["messages"]] == [
        "Say six words.", "amber basin cedar", "Go on.",
    ]  # fmt: skip


async def test_a_key_that_is_revoked_or_may_use_nothing_is_told_so(
    opened: Sheet, gateway: LiveGateway, ollama: FakeOllama
) -> None:
    tenancy = await make_tenancy(gateway.services, models=[])
    await opened.page.get_by_label("Key", exact=True).fill(tenancy.key)
    await opened.page.get_by_role("button", name="Enter").click()
    await expect(opened.page.get_by_role("alert").filter(has_text="no model that this key may use")).to_be_visible()
    await opened.ask("Say six words.")
    await opened.says("Choose a model first.")
    await opened.forget()
    tenancy = await make_tenancy(gateway.services)
    await opened.enter(tenancy.key)
    await gateway.services.api_keys.revoke(tenancy.api_key.prefix, actor="tests", reason="lost")
    await opened.ask("Say six words.")
    await opened.says("The key is not accepted")
    assert ollama.hits == []
