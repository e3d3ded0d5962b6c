"""The pages as they are served: to whom, from which table, with which headers."""

import re
from importlib import resources

import httpx
import pytest

from neuronetz_gateway.http.pages.page_files import ASSETS, LANDING
from tests.support.fake_ollama import FakeOllama
from tests.support.gateways import LiveGateway, live_gateway
from tests.support.raw_http import request_bytes, send_raw
from tests.support.stores import Stores

pytestmark = pytest.mark.asyncio(loop_scope="module")

STATIC = resources.files("neuronetz_gateway.http.pages").joinpath("static")
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
PROGRAMS = (None, "*/*", "application/json", "text/plain", "text/html;q=0", "text/html;q=0.000, */*")
GREETING = b"neuronetz-gateway is running"
PATHS = ("/playground", *(f"/playground/{name}" for name in ASSETS))
MOST_LINES = 200
FORBIDDEN = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|[sS]torage|cookie"
    r"|https?://(?!www\.w3\.org/2000/svg)"
)


async def test_a_gateway_without_the_playground_knows_nothing_of_it(stores: Stores, served: FakeOllama) -> None:
    async with live_gateway(stores, served.base_url) as closed, closed.http() as http:
        unknown = await http.get("/no-such-path")
        for path in PATHS:
            answer = await http.get(path, headers={"accept": BROWSER})
            assert (answer.status_code, answer.content) == (404, unknown.content)
            assert names_of(answer) == names_of(unknown)
        greeting = await http.get("/", headers={"accept": BROWSER})
        assert (greeting.content, "vary" in greeting.headers) == (GREETING, False)


async def test_only_who_asks_for_html_sees_a_page_where_programs_are_greeted(gateway: LiveGateway) -> None:
    async with gateway.http() as http:
        page = await http.get("/", headers={"accept": BROWSER})
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert page.content == STATIC.joinpath(LANDING).read_bytes()
        assert page.headers["vary"] == "Accept"
        for accept in PROGRAMS:
            for method in ("GET", "HEAD"):
                headers = {} if accept is None else {"accept": accept}
                answer = await http.request(method, "/", headers=headers)
                assert (answer.status_code, answer.headers["vary"]) == (200, "Accept")
                assert answer.headers["content-type"] == "text/plain; charset=utf-8"
                assert answer.headers["content-length"] == str(len(GREETING))
                assert answer.content == (GREETING if method == "GET" else b"")
        refused = await http.post("/", headers={"accept": BROWSER})
        assert refused.status_code == 404


async def test_every_file_comes_with_its_type_its_length_and_a_policy_that_lets_nothing_else_in(
    gateway: LiveGateway,
) -> None:
    types = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml", "playground": "text/html"}
    async with gateway.http() as http:
        for path in PATHS:
            answer = await http.get(path)
            assert answer.status_code == 200, path
            assert answer.headers["content-type"].partition(";")[0] == types[path.rpartition("/")[2].rpartition(".")[2]]
            assert_closed(answer)
            head = await http.head(path)
            assert (head.content, names_of(head)) == (b"", names_of(answer))
            assert head.headers["content-length"] == answer.headers["content-length"] == str(len(answer.content))
        assert_closed(await http.get("/", headers={"accept": BROWSER}))


async def test_what_a_browser_has_is_not_sent_again(gateway: LiveGateway) -> None:
    async with gateway.http() as http:
        whole = await http.get("/playground")
        etag = whole.headers["etag"]
        for named in (etag, f"W/{etag}", f'"other", {etag}', "*"):
            again = await http.get("/playground", headers={"if-none-match": named})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
            assert_closed(again)
        assert (await http.get("/playground", headers={"if-none-match": '"other"'})).content == whole.content


async def test_other_methods_are_told_so(gateway: LiveGateway) -> None:
    async with gateway.http() as http:
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
            answer = await http.request(method, "/playground/key.js")
            assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.promise("N2")
async def test_no_path_is_made_of_what_a_caller_sends(gateway: LiveGateway) -> None:
    spellings = (
        "/playground/", "/playground/playground.html", "/playground/landing.html", "/playground/../playground",
        "/playground/..%2f..%2fsettings.py", "/playground/%2e%2e/page_table.py", "/playground/page_table.py",
        "/Playground", "//playground", "/playground/.", "/playground/key.js/", "/playground/key.js%00", "/play%67round",
    )  # fmt: skip
    for target in spellings:
        answer = await send_raw(gateway.base_url, request_bytes("GET", target))
        assert answer.status == 404, (target, answer)


async def test_the_table_names_every_file_that_is_there() -> None:
    there = {entry.name for entry in STATIC.iterdir()}
    assert there == {*ASSETS, LANDING, "playground.html"}


@pytest.mark.parametrize("name", sorted(ASSETS))
async def test_a_file_says_what_it_is_for_stays_small_and_makes_no_markup_of_text(name: str) -> None:
    text = STATIC.joinpath(name).read_text(encoding="utf-8")
    first, *_ = text.splitlines()
    assert re.fullmatch(r"(// .*\.)|(/\* .*\. \*/)|(<!-- .*\. -->)", first), first
    assert len(text.splitlines()) < MOST_LINES or name.endswith(".css")
    assert max(map(len, text.splitlines())) <= 120
    assert not re.search(FORBIDDEN, text)


async def test_the_pages_load_nothing_from_elsewhere_and_show_no_version() -> None:
    for name in (LANDING, "playground.html"):
        text = STATIC.joinpath(name).read_text(encoding="utf-8")
        for address in re.findall(r'(?:src|href)="([^"]*)"', text):
            assert address in {"/", *PATHS}, address
        assert not re.search(r"\bstyle=|\bon[a-z]+=|<style|<script>|\d+\.\d+\.\d+(?!\.)", text.replace("127.0.0.1", ""))


def assert_closed(answer: httpx.Response) -> None:
    policy = dict(part.strip().partition(" ")[::2] for part in answer.headers["content-security-policy"].split(";"))
    assert policy == {
        "default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "connect-src": "'self'",
        "img-src": "'self'", "base-uri": "'none'", "form-action": "'none'", "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'", "trusted-types": "'none'",
    }  # fmt: skip
    expected = {
        "x-content-type-options": "nosniff", "x-frame-options": "DENY", "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin", "cross-origin-resource-policy": "same-origin",
        "cache-control": "no-cache",
    }  # fmt: skip
    assert {name: answer.headers[name] for name in expected} == expected
    assert "camera=()" in answer.headers["permissions-policy"]


def names_of(answer: httpx.Response) -> list[str]:
    return sorted(answer.headers)
