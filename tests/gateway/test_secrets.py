"""Secrets and prompts stay where they belong: nowhere."""

import json
from pathlib import Path

import pytest

from neuronetz_gateway.wiring import Services
from tests.support.factories import make_tenancy
from tests.support.fake_ollama import FakeOllama, Fault, Script
from tests.support.forks import Zygote
from tests.support.gateways import PEPPER, gateway_fork
from tests.support.load import CHAT
from tests.support.stores import Stores
from tests.support.whole_stores import whole_database, whole_redis

CANARY = "canary-prompt-7f3a9c"
BROKEN_JSON = b'{"model": "fakea", "messages": [{"content": "' + CANARY.encode() + b'"}], "x": NaN}'


@pytest.mark.promise("A7", "D4")
async def test_no_key_and_no_prompt_is_found_in_any_store_log_metric_or_error(
    zygote: Zygote, env_file: Path, management: Services, stores: Stores, ollama: FakeOllama
) -> None:
    tenancy = await make_tenancy(management)
    secret = tenancy.key[12:]
    body = {**CHAT, "messages": [{"role": "user", "content": CANARY}]}
    said: list[str] = []
    async with gateway_fork(zygote, env_file) as gateway:
        async with gateway.http(tenancy.key) as http:
            for script in (Script(), Script(status=500, error="x"), Script(fault=Fault.RESET), Script(status=404)):
                ollama.next(script)
                answer = await http.post("/api/chat", json=body)
                said.append(answer.text if answer.status_code != 200 else "")
            said.append((await http.post("/api/chat", content=BROKEN_JSON)).text)
            said.append((await http.post("/api/chat", json={**body, "model": "x@" + CANARY[:6]})).text)
            said.append((await http.post("/api/chat", json={**body, "stream": CANARY})).text)
            said.append((await http.get(f"/api/{CANARY}%1b%0d%0a")).text)
            said.append((await http.get("/metrics")).text)
        async with gateway.http(tenancy.key[:-1] + "!") as http:
            said.append((await http.post("/api/chat", json=body)).text)
        async with gateway.http(tenancy.key[:-3] + "abc") as http:
            said.append((await http.post("/api/chat", json=body)).text)
    log = gateway.log.read_text()
    head, _, events = log.partition("{")  # what `serve` itself says on its terminal, then the log
    assert head.count("\n") <= 2, head
    told = [line for line in ("{" + events).splitlines() if not line.startswith("Stopping: ")]  # its own words
    lines = [json.loads(line) for line in told]  # each line is one event, whatever was sent
    assert sum(line.get("event") == "request" for line in lines) >= 10
    database = await whole_database(stores)
    redis = await whole_redis(management)
    assert tenancy.api_key.prefix in database
    for name, text in {"log": log, "said": "\n".join(said), "database": database, "redis": redis}.items():
        assert secret not in text, name
        assert PEPPER not in text, name
        if name != "said":  # an unknown model or path is named to the one who sent it
            prompts = [line for line in text.splitlines() if CANARY in line and f"/api/{CANARY}" not in line]
            assert not prompts, (name, prompts)
