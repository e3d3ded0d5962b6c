"""The README is held to its word: what it says to paste is run, on a real quickstart with the demo model."""

import json
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from neuronetz_gateway.cli.command_table import COMMANDS
from neuronetz_gateway.surfaces import catalog
from tests.support.no_tls import NO_TLS
from tests.support.programs import all_gone, children_of

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
RUN, CURL, SPEND, TEST, MANAGE, LOOK, *_ = (text for language, text in BLOCKS if language == "sh")
OLLAMA, OPENAI, ANTHROPIC = (text for language, text in BLOCKS if language == "python")
ACCOUNT, REFUSAL = (text for language, text in BLOCKS if language == "json")
EXPORT = CURL.splitlines()[0]

MODEL = "smollm2:135m"
SET_UP = "python3.12 -m venv .venv && .venv/bin/pip install -q uv rust-just && .venv/bin/just"
WHOLE_KEY = re.compile(r"nz_[0-9A-Za-z]{41}")
NORMAL_END_SECONDS = 40


@dataclass(frozen=True, slots=True)
class Checkout:
    """A folder that looks like the README's: .venv in it, .quickstart in it, its gateway running."""

    place: Path
    page: str  # what the quickstart printed

    @property
    def base_url(self) -> str:
        return self.said("Base URL")

    @property
    def key(self) -> str:
        return self.said("API key")

    def said(self, name: str) -> str:
        found = re.search(rf"^ *{name}:? +(.*?) *$", self.page, re.MULTILINE)
        assert found, self.page
        return found[1]

    def panel(self, title: str) -> str:
        """The snippet that the quickstart printed under a title."""
        found = re.search(rf"^{re.escape(title)} ─+\n(.*?)^[^─\n]*─+$", self.page, re.MULTILINE | re.DOTALL)
        assert found, self.page
        return found[1]

    def paste(self, text: str) -> str:
        """What a terminal in this folder shows on stdout; the port is the one thing that differs from the page."""
        script = "shopt -s expand_aliases\n" + text.replace("http://127.0.0.1:8080", self.base_url)
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", script],
            cwd=self.place, env=environment(), capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def http(self, key: str) -> httpx.Client:
        headers = {"authorization": f"Bearer {key}"}
        return httpx.Client(base_url=self.base_url, headers=headers, verify=NO_TLS, trust_env=False, timeout=60)


def environment() -> dict[str, str]:
    """That of a plain shell: nothing of the test run's own."""
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    place = tmp_path_factory.mktemp("checkout")
    (place / ".venv").symlink_to(sys.prefix)
    words = [".venv/bin/neuronetz-gateway", "quickstart", "--port", "0", "--upstream", "demo"]
    with (place / "log").open("wb") as log:
        running = subprocess.Popen(
            words, cwd=place, env=environment(), stdout=subprocess.PIPE, stderr=log, text=True, encoding="utf-8"
        )
    assert running.stdout is not None
    try:
        page = ""
        while "Ctrl-C stops everything" not in page:
            line = running.stdout.readline()
            assert line, (place / "log").read_text(encoding="utf-8")
            page += line
        yield Checkout(place, page)
        children = children_of(running.pid)
        running.send_signal(signal.SIGINT)
        assert running.wait(NORMAL_END_SECONDS) == 0
        assert all_gone(children)
    finally:
        running.kill()
        running.wait()
        running.stdout.close()


def test_the_first_screen_and_the_tests_are_one_command_each() -> None:
    assert RUN.strip() == f"{SET_UP} quickstart"
    assert TEST.strip() == f"{SET_UP} test"
    recipes = set(
        re.findall(r"^([a-z-]+)[^:=\n]*:(?!=)", (ROOT / "justfile").read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert set(re.findall(r"\bjust ([a-z]+)", README)) <= recipes


def test_the_curl_command_streams_an_answer(checkout: Checkout) -> None:
    records = [json.loads(line) for line in checkout.paste(CURL).splitlines()]
    assert "".join(record["message"]["content"] for record in records).strip()
    assert [record["done"] for record in records] == [False] * (len(records) - 1) + [True]


@pytest.mark.parametrize("program", [OLLAMA, OPENAI, ANTHROPIC], ids=["ollama", "openai", "anthropic"])
def test_the_python_programs_print_an_answer(checkout: Checkout, program: str) -> None:
    assert checkout.paste(f"{EXPORT}\n.venv/bin/python -c {shlex.quote(program)}").strip()


def test_a_spent_budget_is_refused_then_shown_where_it_went(checkout: Checkout) -> None:
    shown = checkout.paste(CURL + SPEND)
    refusal = next(line for line in shown.splitlines() if line.startswith('{"error"'))
    assert "budget" in json.loads(refusal)["error"]
    assert MODEL in shown.rpartition(refusal)[2]


@pytest.mark.parametrize(
    "title",
    [
        "curl",
        "ollama (Python)",
        *(pytest.param(each, marks=pytest.mark.full) for each in ("openai (Python)", "anthropic (Python)")),
    ],
)
def test_what_the_quickstart_prints_works_as_pasted(checkout: Checkout, title: str) -> None:
    assert checkout.key in checkout.panel(title)
    assert checkout.paste(checkout.panel(title)).strip()


def test_the_hint_that_the_quickstart_prints_works_as_pasted(checkout: Checkout) -> None:
    """It named the command alone, which is not on the PATH of somebody who followed the README."""
    assert checkout.paste(checkout.said("What was used")).startswith("tenant      demo, active")


def test_the_management_commands_make_a_tenant_whose_key_works(checkout: Checkout) -> None:
    shown = checkout.paste(MANAGE)
    (key,) = WHOLE_KEY.findall(shown)
    assert re.search(r"^tenant daily +0 +0 +50,000 +50,000 ", shown, re.MULTILINE)
    assert re.search(r"^tenant monthly +0 +0 +1,000,000 +1,000,000 ", shown, re.MULTILINE)
    assert "No request has been answered this month." in shown
    with checkout.http(key) as http:
        assert [model["id"] for model in http.get("/v1/models").json()["data"]] == [MODEL]


def test_a_refusal_reads_as_the_page_says(checkout: Checkout) -> None:
    nz = ".venv/bin/neuronetz-gateway create-key --env-file .quickstart/gateway.env"
    key = checkout.paste(f"{nz} --tenant demo --name twice --rpm 2 --quiet").strip()
    question = {"model": MODEL, "prompt": "Hello", "stream": False, "options": {"num_predict": 1}}
    with checkout.http(key) as http:
        assert [http.post("/api/generate", json=question).status_code for _ in range(2)] == [httpx.codes.OK] * 2
        refused = http.post("/api/generate", json=question)
    assert (refused.status_code, "retry-after" in refused.headers) == (httpx.codes.TOO_MANY_REQUESTS, True)
    assert _without_figures(refused.json()["error"]) == _without_figures(json.loads(REFUSAL)["error"])


def test_a_key_sees_its_account_as_the_page_shows_it(checkout: Checkout) -> None:
    checkout.paste(CURL)
    shown = json.loads(checkout.paste(f"{EXPORT}\n{LOOK}"))
    _check_shape(shown, json.loads(ACCOUNT))
    assert (shown["key"]["name"], shown["tenant"]["name"]) == ("quickstart", "demo")
    assert [usage["model"] for usage in shown["usage_today"]["models"]] == [MODEL]


@pytest.mark.parametrize("path", re.findall(r"^\| `(/\w+)` \|", README, re.MULTILINE))
def test_the_pages_for_operators_are_there(checkout: Checkout, path: str) -> None:
    with checkout.http(checkout.key) as http:
        assert http.get(path).status_code == httpx.codes.OK


def test_the_table_of_commands_names_each_of_them_once() -> None:
    table = README.partition("| command |")[2].partition("\n\n")[0]
    named = re.findall(r"`([a-z]+(?:[ -][a-z]+)*)`", table)
    assert sorted(named) == sorted(command.name for command in COMMANDS)


def test_the_table_of_endpoints_names_each_of_them_once() -> None:
    table = README.partition("| protocol |")[2].partition("\n\n")[0]
    methods = re.findall(r"(GET|POST) ((?:`/[^`]+`(?:, )?)+)", table)
    named = [(method, path) for method, paths in methods for path in re.findall(r"`([^`]+)`", paths)]
    served = [(each.method, each.path) for each in (*catalog.ENDPOINTS, catalog.ACCOUNT) if each.method != "HEAD"]
    assert sorted(named) == sorted(served)


def _check_shape(shown: Any, page: Any) -> None:
    """The names are those of the page, all of them unless it leaves some out ("..."); its figures are examples."""
    if isinstance(page, dict):
        named = set(page) - {"..."}
        assert named <= set(shown) if "..." in page else named == set(shown)
        for name in named:
            _check_shape(shown[name], page[name])
    elif isinstance(page, list):
        for one in shown[: len(page)]:
            _check_shape(one, page[0])


def _without_figures(sentence: str) -> str:
    return re.sub(r"\d+", "N", sentence)
