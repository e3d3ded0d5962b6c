"""After requests with every fate on every surface, a crash and a failing store, no secret lies anywhere (A7)."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from neuronetz_gateway.domain.budget import Period
from neuronetz_gateway.domain.limit import Limits
from neuronetz_gateway.surfaces.catalog import ENDPOINTS
from neuronetz_gateway.wiring import Services, build_services
from tests.support.canaries import found_in, postgres_dump, processes, sizes_of_stores, written_by_stores
from tests.support.factories import Tenancy, make_key, make_tenancy
from tests.support.fake_ollama import FakeOllama, Fault, Script
from tests.support.forks import Zygote
from tests.support.gateways import GatewayProcess, gateway_fork, gateway_process, make_settings, write_env_file
from tests.support.ledgers import until
from tests.support.load import CHAT
from tests.support.mixed_load import FATES, install
from tests.support.raw_http import send_raw
from tests.support.stores import Stores
from tests.support.valid_bodies import INFERRING, STREAMING, saying
from tests.support.whole_stores import whole_database, whole_redis

PROMPT, ANSWER = "Vq7cprompt51c0deWx9", "Kz4canswer93f1abHy2"
OPERATORS = {
    "key_pepper": "Pp1c0ffee4d2e8a9b7c6d5e4f3a2b1c0d",
    "key_pepper_previous": "Qq1c0ffee4d2e8a9b7c6d5e4f3a2b1c0d",
    "audit_signing_key": "Ss1c0ffee4d2e8a9b7c6d5e4f3a2b1c0d",
    "prompt_log_key": "Ll1c0ffee4d2e8a9b7c6d5e4f3a2b1c0d",
}
DATABASE_PASSWORD = "Dd1c0ffee4d2e8a9b7c6"  # the socket asks for none, so any is taken
QUICK = {"heartbeat_s": 0.2, "lease_s": 1, "recovery_after_s": 1.5}

pytestmark = pytest.mark.promise("A7", "D5")


@dataclass(slots=True)
class Told:
    """What callers were answered: errors apart from whatever else there was."""

    errors: list[str] = field(default_factory=list)
    statuses: set[int] = field(default_factory=set)

    async def ask(self, http: httpx.AsyncClient, method: str, path: str, **request: Any) -> None:
        with contextlib.suppress(httpx.TransportError, TimeoutError):
            async with asyncio.timeout(request.pop("patience", 20)):
                answer = await http.request(method, path, **request)
                self.statuses.add(answer.status_code)
                heads = "\n".join(f"{name}: {value}" for name, value in answer.headers.items())
                self.errors.append(f"{heads}\n{answer.text if answer.status_code >= 400 else ''}")


@dataclass(frozen=True, slots=True)
class Keys:
    """One key for each way to be let in or not."""

    good: Tenancy
    logged: Tenancy
    others: tuple[Tenancy, ...]

    @property
    def secrets(self) -> list[str]:
        return [tenancy.key[12:] for tenancy in (self.good, self.logged, *self.others)]


async def make_keys(services: Services, models: tuple[str, ...]) -> Keys:
    good = await make_tenancy(services, models=models)
    logged = await make_key(services, good.tenant)
    await services.logged_prompts.set_logging(logged.api_key.prefix, timedelta(hours=1), actor="test")
    revoked = await make_key(services, good.tenant)
    await services.api_keys.revoke(revoked.api_key.prefix, actor="test", reason="test")
    others = (
        await make_key(services, good.tenant, limits=Limits(rpm=1)),
        await make_key(services, good.tenant, models=["ok"]),
        await make_key(services, good.tenant, expires_at=datetime.now(UTC) + timedelta(seconds=1)),
        await make_tenancy(services, budget={Period.DAILY: 1}),
        revoked,
    )
    return Keys(good, logged, others)


@pytest.fixture
async def keeper(stores: Stores, ollama: FakeOllama) -> AsyncIterator[Services]:
    """The command line's services, under the operator's own secrets."""
    services = build_services(make_settings(stores, ollama.base_url, **OPERATORS))
    yield services
    await services.aclose()


def everywhere(text: str) -> dict[str, Any]:
    """Fields beside the subject of a request in which a caller's own words may stand."""
    return {
        "system": text, "suffix": text, "template": text, "stop": [text], "user": text, "instructions": text,
        "metadata": {"user_id": text}, "format": {"type": "object", "description": text}, text: text,
        "tools": [{"type": "function", "function": {"name": text, "description": text, "parameters": {}}}],
        "options": {"num_predict": 7, "stop": [text]},
    }  # fmt: skip


async def meet_every_fate(told: Told, http: httpx.AsyncClient) -> None:
    await asyncio.gather(*(meet_fates_on(told, http, number) for number in range(len(INFERRING))))


async def meet_fates_on(told: Told, http: httpx.AsyncClient, number: int) -> None:
    endpoint = INFERRING[number]
    for place, fate in enumerate(FATES):
        body = saying(endpoint, PROMPT, model=fate)
        if endpoint in STREAMING:
            body["stream"] = (number + place) % 2 == 0
        await told.ask(http, "POST", endpoint.path, json=body)
    await told.ask(http, "POST", endpoint.path, json={**saying(endpoint, PROMPT, model="ok"), **everywhere(PROMPT)})
    for odd in ({"model": f"nobody/{PROMPT}"}, {"stream": PROMPT}, {"options": PROMPT}, {"max_tokens": PROMPT}):
        await told.ask(http, "POST", endpoint.path, json={**saying(endpoint, PROMPT, model="ok"), **odd})
    raw = json.dumps(saying(endpoint, PROMPT, model="ok"))
    for wrong in (raw[:-3], raw.replace("{", '{"x": NaN,', 1), f"{raw}{PROMPT}", f'{raw[:-1]}, "model": "ok"}}'):
        await told.ask(http, "POST", endpoint.path, content=wrong)
    await told.ask(http, "POST", endpoint.path, content=raw, headers={"content-encoding": "gzip"})
    await told.ask(http, "POST", endpoint.path, json=saying(endpoint, PROMPT, model="slow"), patience=0.05)


async def show_the_key_where_it_does_not_belong(told: Told, http: httpx.AsyncClient, key: str) -> None:
    for headers in (
        {"user-agent": key}, {"x-request-id": key}, {"referer": f"https://x/{key}"}, {"cookie": f"key={key}"},
        {"authorization": f"Basic {key}"}, {"authorization": key}, {"x-api-key": f"{key}x"}, {"x-forwarded-for": key},
        {"origin": key}, {"content-type": key}, {"host": key}, {"anthropic-version": key},
    ):  # fmt: skip
        await told.ask(http, "POST", "/api/chat", json={**CHAT, "model": "ok"}, headers=headers)
        await told.ask(http, "POST", "/v1/messages", json={}, headers=headers)
    for path in (f"/api/chat?key={key}", f"/api/{key}", f"/v1/{key}?{key}", f"/v1/models/{key}", f"/{key}%0a{key}"):
        await told.ask(http, "GET", path)
        await told.ask(http, "POST", path, json=CHAT)
    for line in (
        f"GET /api/{key} x HTTP/1.1",
        f"GET /v1/{key} HTTP/3.0",
        f"{key} / HTTP/1.1",
        f"GET http://{key}/ HTTP/1.1",
    ):
        for extra in ("", f"Host: {key}\r\n", f"X{key}: x\r\n {key}\r\n", f"Authorization : {key}\r\n"):
            answer = await send_raw(str(http.base_url), f"{line}\r\nHost: x\r\n{extra}\r\n".encode())
            told.errors.append((answer.head + answer.body).decode("latin-1"))
    for body in ({**CHAT, "model": key}, {**CHAT, "messages": key}, {**CHAT, "keep_alive": key}, {key: key}, key):
        await told.ask(http, "POST", "/api/chat", json=body)


async def be_refused(told: Told, gateway: GatewayProcess, keys: Keys) -> None:
    mutant = keys.good.key[:-1] + ("a" if keys.good.key[-1] != "a" else "b")
    for key in (*(tenancy.key for tenancy in keys.others), mutant, f"{keys.good.key}x", keys.good.key[:-1]):
        async with gateway.http(key) as http:
            for endpoint in ENDPOINTS:
                path = endpoint.path.replace("{model}", "ok")
                body = saying(endpoint, PROMPT, model="fails") if endpoint.inference else None
                await told.ask(http, endpoint.method, path, json=body)


async def lose_a_store(told: Told, http: httpx.AsyncClient, stores: Stores) -> None:
    """Errors of Postgres in the words of Postgres, which repeat values."""
    await stores.execute("alter table budget_usage rename to elsewhere")
    for _ in range(3):
        await told.ask(http, "POST", "/api/chat", json={**CHAT, "model": "ok", "messages": [{"content": PROMPT}]})
    await stores.execute("alter table elsewhere rename to budget_usage")


async def die_amidst_a_stream(told: Told, gateway: GatewayProcess, ollama: FakeOllama, key: str) -> None:
    ollama.for_model("ok:latest", Script(words=(ANSWER,), fault=Fault.HANG, fault_after_records=2))
    body = {"model": "ok", "messages": [{"role": "user", "content": PROMPT}]}
    async with gateway.http(key) as http:
        asking = asyncio.create_task(told.ask(http, "POST", "/api/chat", json=body))
        await ollama.wait_for(lambda: ollama.in_flight == 1)
        gateway.process.kill()
        await asking
    await gateway.process.wait()


async def test_no_key_prompt_answer_or_secret_of_the_operator_lies_anywhere(
    zygote: Zygote, keeper: Services, stores: Stores, ollama: FakeOllama, store_folder: Path, tmp_path: Path
) -> None:
    before = sizes_of_stores(store_folder)
    models = install(ollama)
    for name, script in FATES.items():
        ollama.for_model(f"{name}:latest", replace(script, words=(ANSWER,), thoughts=(ANSWER,)))
    keys = await make_keys(keeper, models)
    settings = make_settings(stores, ollama.base_url, log_level="debug", **OPERATORS, **QUICK)
    secret_url = f"{stores.database_url}&password={DATABASE_PASSWORD}"
    env_file = write_env_file(tmp_path / "gateway.env", settings, DATABASE_URL=secret_url)
    told, logs, seen = Told(), [], []
    async with gateway_process(env_file, "--workers", "2") as gateway:
        logs.append(gateway.log)
        async with gateway.http(keys.good.key) as http:
            await meet_every_fate(told, http)
            await show_the_key_where_it_does_not_belong(told, http, keys.good.key)
            await lose_a_store(told, http, stores)
        async with gateway.http(keys.logged.key) as http:
            await until(lambda: is_served(http))  # a moment after the outage
        await be_refused(told, gateway, keys)
        async with gateway.http() as http:
            seen.append((await http.get("/metrics")).text)
        seen.append(processes())
        seen.append(environment_of(gateway.process.pid))
    async with gateway_fork(zygote, env_file) as gateway:
        logs.append(gateway.log)
        await die_amidst_a_stream(told, gateway, ollama, keys.good.key)
    async with gateway_fork(zygote, env_file) as gateway:  # finds what the other one left
        logs.append(gateway.log)
        await until(lambda: abandoned(stores))
    print(sorted(told.statuses), len(told.errors), "answers,", len(ollama.hits), "requests to the model")
    assert told.statuses >= {200, 400, 401, 403, 404, 415, 429, 502, 503}
    assert any(PROMPT.encode() in hit.body for hit in ollama.hits)
    dump = postgres_dump(stores)
    places = {
        "logs": "\n".join(log.read_text() for log in logs),
        "errors": "\n".join(told.errors),
        "metrics and processes": "\n".join(seen),
        "dump": dump,
        "tables": await whole_database(stores),
        "Redis": await whole_redis(keeper),
        "what the stores wrote": written_by_stores(store_folder, before),
    }
    prefix = keys.good.api_key.prefix
    for name in ("logs", "dump", "tables", "Redis", "what the stores wrote"):
        assert prefix in places[name], f"nothing was seen in {name}"
    assert "prompt_log" in dump
    assert len(await stores.fetch("select 1 from prompt_log")) == 1
    sizes = {name: f"{len(text) / 1e6:.1f} MB" for name, text in places.items()}
    print(sizes)
    secrets = [*keys.secrets, *OPERATORS.values(), DATABASE_PASSWORD]
    hits = {name: [hit for secret in secrets for hit in found_in(text, secret)] for name, text in places.items()}
    for name, text in places.items():
        private = [hit for words in (PROMPT, ANSWER) for hit in found_in(without_echoes(text), words)]
        hits[name] += private
    assert not any(hits.values()), {name: found[:3] for name, found in hits.items() if found}


async def is_served(http: httpx.AsyncClient) -> bool:
    answer = await http.post("/api/chat", json={**saying(INFERRING[0], PROMPT), "model": "ok"})
    return answer.status_code == httpx.codes.OK


def without_echoes(text: str) -> str:
    """Without the model's name that a caller invented, which is written down, told to whoever sent it."""
    return text.replace(f"nobody/{PROMPT}", "").replace(f"nobody/{PROMPT.lower()}", "")


def environment_of(pid: int) -> str:
    return Path(f"/proc/{pid}/environ").read_text(encoding="utf-8") if Path("/proc").is_dir() else ""


async def abandoned(stores: Stores) -> bool:
    return bool(await stores.fetch("select 1 from audit_log where outcome = 'abandoned'"))


def test_a_secret_is_found_in_each_of_its_spellings() -> None:
    """The scan itself, held to what it claims."""
    for text in (PROMPT, PROMPT.lower(), PROMPT.encode().hex(), PROMPT[::-1], PROMPT[:9]):
        assert found_in(f"before {text} after", PROMPT), text
    assert not found_in("nothing of it", PROMPT)
