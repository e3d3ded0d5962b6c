"""What is not in the endpoint table cannot reach the upstream, however it is spelled."""

import asyncio
import itertools
import random
from collections import Counter

import pytest

from tests.support.factories import make_tenancy
from tests.support.fake_ollama import FakeOllama
from tests.support.gateways import LiveGateway
from tests.support.raw_http import request_bytes, send_raw

DANGEROUS = {
    "/api/pull": "POST", "/api/push": "POST", "/api/create": "POST", "/api/copy": "POST", "/api/delete": "DELETE",
    "/api/blobs/sha256:00": "POST", "/api/me": "POST", "/api/signout": "POST", "/api/user/keys/a2V5": "DELETE",
    "/api/experimental/web_search": "POST", "/api/experimental/web_fetch": "POST",
}  # fmt: skip
HARMLESS_STRANGERS = ("/api/nothing", "/v1/audio/transcriptions", "/debug/pprof/", "/v1", "/api", "/api/tags/extra")
SPELLINGS_EACH = 40


def spelled(path: str, chosen: random.Random) -> str:
    """One of the spellings that a decoding, cleaning router would take for the path (OLLAMA §2)."""
    out = path
    for _ in range(chosen.randint(1, 3)):
        letters = [place for place, letter in enumerate(out) if letter.isalpha()]
        place = chosen.choice(letters)
        change = chosen.randrange(7)
        if change == 0:
            out = out[:place] + f"%{ord(out[place]):02{chosen.choice('xX')}}" + out[place + 1 :]
        elif change == 1:
            out = "/" + out
        elif change == 2:
            out = out[:1] + "./" + out[1:]
        elif change == 3:
            out = "/v1/.." + out
        elif change == 4:
            out += chosen.choice(["/", "?x=1", "%2f"])
        elif change == 5:
            slash = out.rindex("/")
            out = out[: slash + 1].rstrip("/") + "%2F" + out[slash + 1 :] if slash else out
        else:
            out = out[:place] + out[place].upper() + out[place + 1 :] if "%" not in out else out
    return out if out.startswith("/") else "/" + out  # else it would be no HTTP at all


@pytest.mark.promise("N2")
@pytest.mark.parametrize("with_key", [False, True])
async def test_no_spelling_of_a_dangerous_route_reaches_the_upstream(
    gateway: LiveGateway, ollama: FakeOllama, with_key: bool
) -> None:
    key = (await make_tenancy(gateway.services)).key if with_key else None
    chosen = random.Random(11)
    statuses: Counter[int] = Counter()
    for path, method in DANGEROUS.items():
        targets = [path, *(spelled(path, chosen) for _ in range(SPELLINGS_EACH))]
        for batch in itertools.batched(targets, 20):
            answers = await asyncio.gather(
                *(send_raw(gateway.base_url, request_bytes(method, target, key=key, body=b"{}")) for target in batch)
            )
            for target, answer in zip(batch, answers, strict=True):
                assert answer.status in {403, 404}, (method, target, answer)
                statuses[answer.status] += 1
        for other in ("GET", "POST", "PUT", "DELETE", "PATCH"):
            answer = await send_raw(gateway.base_url, request_bytes(other, path, key=key, body=b"{}"))
            assert answer.status == 403, (other, path, answer)
    assert statuses[403] > sum(statuses.values()) * 0.9
    assert not ollama.requests


@pytest.mark.promise("N2")
async def test_what_is_not_in_the_table_does_not_exist(gateway: LiveGateway, ollama: FakeOllama) -> None:
    key = (await make_tenancy(gateway.services)).key
    for path, method in itertools.product(HARMLESS_STRANGERS, ("GET", "POST")):
        answer = await send_raw(gateway.base_url, request_bytes(method, path, key=key, body=b"{}"))
        assert answer.status in {403, 404}, (method, path, answer)
    for target in ("/api/%63hat", "/API/chat", "/api//chat", "/api/chat/", "/./api/chat", "/api%2fchat"):
        answer = await send_raw(gateway.base_url, request_bytes("POST", target, key=key, body=b"{}"))
        assert answer.status == 404, (target, answer)
    assert not ollama.requests


async def test_the_query_string_and_the_callers_headers_stay_behind(gateway: LiveGateway, ollama: FakeOllama) -> None:
    tenancy = await make_tenancy(gateway.services)
    async with gateway.http(tenancy.key) as http:
        answer = await http.get(
            "/api/tags?model=x:cloud", headers={"cookie": "a=b", "origin": "https://evil", "x-api-key": tenancy.key}
        )
    assert answer.status_code == 200
    [seen] = ollama.requests
    assert seen.target == "/api/tags"
    assert {name.lower() for name, _ in seen.headers} <= {"host", "accept", "accept-encoding", "user-agent"}
    assert tenancy.key.encode() not in seen.raw_head
