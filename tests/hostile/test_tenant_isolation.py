"""Nothing of one tenant is seen or changed by another one's key, nor by a command about another one."""

import asyncio
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from neuronetz_gateway.cli.command_table import COMMANDS
from neuronetz_gateway.domain.budget import Period
from neuronetz_gateway.domain.limit import Limits
from neuronetz_gateway.surfaces.catalog import ENDPOINTS
from neuronetz_gateway.wiring import Services
from tests.support.commands import command
from tests.support.factories import Tenancy, make_key
from tests.support.fake_ollama import FakeOllama
from tests.support.gateways import live_gateway, make_settings, write_env_file
from tests.support.stores import Stores
from tests.support.valid_bodies import INFERRING, saying

VICTIM, STRANGER = "victim-7c1f", "stranger-2b9e"
SECRET_MODEL = "victims-own-model:latest"
CANARY = "canary-of-the-victim-5d20"
PROMPT_KEY = "0123456789abcdef0123456789abcdef-prompts-of-the-tests"
# What an operator sees of all tenants at once, on purpose.
OF_ALL_TENANTS = {
    "quickstart": "starts a gateway",
    "serve": "starts a gateway",
    "migrate": "of the database",
    "doctor": "of the surroundings: it counts, names nobody",
    "list-tenants": "the list of all of them",
    "audit verify": "one chain holds the rows of all; it names rows by number",
    "audit checkpoints": "digests of the chain of all",
}


async def make(services: Services, name: str, models: tuple[str, ...]) -> Tenancy:
    tenant = await services.tenants.create(
        name, allow_all_models=False, models=frozenset(models), limits=Limits(rpm=None, tpm=None, concurrent=None)
    )
    await services.budgets.set_for_tenant(name, {Period.DAILY: 7_654_321 if name == VICTIM else 1_234_567})
    return await make_key(services, tenant, limits=Limits(rpm=4_321 if name == VICTIM else 1_111))


async def both(services: Services) -> tuple[Tenancy, Tenancy]:
    victim = await make(services, VICTIM, ("fakea:latest", SECRET_MODEL))
    await services.logged_prompts.set_logging(victim.api_key.prefix, timedelta(hours=1), actor="test")
    return victim, await make(services, STRANGER, ("fakea:latest",))


async def used_by(http: httpx.AsyncClient) -> None:
    """What the victim does, so that there is something to see."""
    body = {"model": SECRET_MODEL, "messages": [{"role": "user", "content": CANARY}], "stream": False}
    for _ in range(3):
        answer = await http.post("/api/chat", json=body, headers={"user-agent": CANARY, "x-request-id": CANARY})
        assert answer.status_code == 200, answer.text


def marks_of(victim: Tenancy) -> tuple[str, ...]:
    """By which anything of the victim is known."""
    tenant, key = victim.tenant, victim.api_key
    return (
        VICTIM, str(tenant.id), tenant.id.hex, str(key.id), key.id.hex, key.prefix, key.name, victim.key[12:],
        SECRET_MODEL.partition(":")[0], CANARY, "7654321", "4321",
    )  # fmt: skip


def stands_in(mark: str, text: str) -> bool:
    """A figure only as a whole one: each scrape measures times, of which one had its digits behind the point."""
    return re.search(rf"(?<![\d.]){mark}(?!\d)", text) is not None if mark.isdigit() else mark in text


def claims_of(victim: Tenancy) -> dict[str, str]:
    """Everything by which a gateway was ever told to serve as somebody else."""
    tenant, key = victim.tenant, victim.api_key
    return {
        "x-tenant": VICTIM, "x-tenant-id": str(tenant.id), "x-api-key-id": str(key.id), "x-user": VICTIM,
        "x-key-prefix": key.prefix, "openai-organization": VICTIM, "openai-project": str(tenant.id),
        "x-original-url": "/account", "x-http-method-override": "GET", "cookie": f"tenant={VICTIM}; key={key.prefix}",
        "x-request-id": "of-the-stranger", "x-forwarded-user": VICTIM, "x-forwarded-for": "127.0.0.1",
    }  # fmt: skip


@pytest.mark.promise("A12")
async def test_no_route_shows_or_charges_another_tenant(stores: Stores, ollama: FakeOllama) -> None:
    ollama.models = ("fakea:latest", SECRET_MODEL)
    async with live_gateway(stores, ollama.base_url, prompt_log_key=PROMPT_KEY) as gateway:
        victim, stranger = await both(gateway.services)
        async with gateway.http(victim.key) as http:
            await used_by(http)
            await _settled(stores)
            before = (await http.get("/account")).json()
        seen = await _asked_as(gateway.http(stranger.key), victim)
        async with gateway.http(victim.key) as http:
            after = (await http.get("/account")).json()
        await _settled(stores)
    for said, text in seen.items():
        found = [mark for mark in marks_of(victim) if stands_in(mark, text)]
        assert not found, (said, found, text)
    for account in (before, after):
        account.pop("at")
        account["limits"]["key"]["rpm"].pop("resets_in_seconds")
    assert after["budgets"] == before["budgets"]
    assert after["usage_today"] == before["usage_today"]
    rows = await stores.fetch("select tenant_id, api_key_id from audit_log where request_id = 'of-the-stranger'")
    whose = [(row["tenant_id"], row["api_key_id"]) for row in rows]
    assert whose.count((stranger.tenant.id, stranger.api_key.id)) >= len(INFERRING)
    assert set(whose) <= {(stranger.tenant.id, stranger.api_key.id), (None, None)}  # what is not there is nobody's
    assert {hit.model for hit in ollama.hits[3:]} <= {"fakea:latest"}


async def _asked_as(client: httpx.AsyncClient, victim: Tenancy) -> dict[str, str]:
    """Head and body of every answer, to every route of the table, in three ways."""
    query = {"tenant": VICTIM, "tenant_id": str(victim.tenant.id), "key": victim.api_key.prefix}
    claims = {**query, "user": VICTIM, "metadata": {"user_id": VICTIM, "tenant": VICTIM}}
    seen: dict[str, str] = {}
    async with client as http:
        http.headers.update(claims_of(victim))
        for endpoint in ENDPOINTS:
            path = endpoint.path.replace("{model}", "fakea")
            for model in ("fakea", "*", ""):
                body: dict[str, Any] | None = None
                if endpoint.inference is not None:
                    body = {**saying(endpoint, "Hello", model=model, stream=False), **claims}
                elif endpoint.asks is not None:
                    body = {"model": model, **claims}
                answer = await http.request(endpoint.method, path, params=query, json=body)
                seen[f"{endpoint.method} {path} {model}"] = f"{answer.status_code} {answer.headers} {answer.text}"
                assert answer.status_code < 500, answer.text
        for path in ("/account", f"/account/{VICTIM}", f"/account?tenant={VICTIM}", "/healthz", "/readyz", "/metrics"):
            answer = await http.get(path)
            text = answer.text.replace(VICTIM, "") if answer.status_code == 404 else answer.text  # what it asked for
            seen[path] = f"{answer.status_code} {answer.headers} {text}"
    return seen


async def _settled(stores: Stores) -> None:
    async with asyncio.timeout(10):
        while await stores.fetch("select 1 from reservations"):
            await asyncio.sleep(0.02)


def words_of(stranger: Tenancy) -> dict[str, tuple[str, ...]]:
    """Every command that is about one tenant, told the stranger."""
    tenant, key = ("--tenant", STRANGER), ("--key", stranger.api_key.prefix)
    prefix = ("--prefix", stranger.api_key.prefix)
    return {
        "create-key": (*tenant, "--name", "another", "--json"),
        "list-keys": (*tenant, "--json"),
        "set-budget": (*tenant, "--daily", "5000", "--json"),
        "set-limits": (*key, "--rpm", "7", "--json"),
        "set-models": (*key, "--models", "fakea", "--json"),
        "set-policy": (*key, "--images", "0", "--json"),
        "set-networks": (*key, "--allow", "10.0.0.0/8", "--json"),
        "set-prompt-logging": (*key, "--for", "1h", "--json"),
        "list-models": (*tenant, "--json"),
        "show-usage": (*tenant, "--json"),
        "adjust-usage": (*key, "--tokens", "5", "--reason", "a test", "--json"),
        "audit list": (*tenant, "--json"),
        "audit export": tenant,
        "audit reconcile": (*tenant, "--json"),
        "audit list-prompts": (*key, "--json"),
        "audit erase-prompts": (*tenant, "--json"),
        "rotate-key": (*prefix, "--overlap", "1h", "--json"),
        "revoke-key": (*prefix, "--json"),
        "suspend-tenant": ("--name", STRANGER, "--json"),
    }


ELSEWHERE = {"create-tenant", "audit show-prompt"}  # told nobody, or the id of one prompt
ROWS = {
    "tenants": "select * from tenants where id = $1",
    "keys": "select * from api_keys where tenant_id = $1",
    "limits": "select l.* from key_limits l join api_keys k on k.id = l.api_key_id where k.tenant_id = $1",
    "budgets": "select * from budgets where tenant_id = $1",
    "usage": "select * from budget_usage where tenant_id = $1",
    "prompts": "select * from prompt_log where tenant_id = $1",
    "audit": "select * from audit_log where tenant_id = $1",
}


async def rows_of(stores: Stores, tenancy: Tenancy) -> dict[str, list[str]]:
    """All that is stored of a tenant, apart from the time of its last use, which is written behind."""
    found = {name: await stores.fetch(query, tenancy.tenant.id) for name, query in ROWS.items()}
    return {name: sorted(map(str, rows)) for name, rows in found.items()}


@pytest.mark.promise("A12")
async def test_no_command_about_one_tenant_shows_or_changes_another(
    stores: Stores, ollama: FakeOllama, env_path: Path
) -> None:
    ollama.models = ("fakea:latest", SECRET_MODEL)
    async with live_gateway(stores, ollama.base_url, prompt_log_key=PROMPT_KEY) as gateway:
        victim, stranger = await both(gateway.services)
        async with gateway.http(victim.key) as http:
            await used_by(http)
        await _settled(stores)
    ollama.models = ("fakea:latest",)  # the commands list what is installed, which is no tenant's
    env_file = write_env_file(env_path, make_settings(stores, ollama.base_url, prompt_log_key=PROMPT_KEY))
    before, marks = await rows_of(stores, victim), marks_of(victim)
    assert all(before.values()), before
    commands = words_of(stranger)
    assert {each.name for each in COMMANDS} == {*commands, *OF_ALL_TENANTS, *ELSEWHERE}
    for name, words in commands.items():
        done = await asyncio.to_thread(command, *name.split(), *words, env_file=env_file)
        assert done.status == 0, (name, done.err)
        found = [mark for mark in marks if mark in done.out + done.err]
        assert not found, (name, found, done.out)
    assert await rows_of(stores, victim) == before
