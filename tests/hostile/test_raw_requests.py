"""Each hostile request of the table gets its answer, its connection its fate, the model server what is due."""

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from neuronetz_gateway.embedded.postgres import EmbeddedPostgres
from neuronetz_gateway.embedded.valkey import EmbeddedValkey
from neuronetz_gateway.http.caller_connection import CallerConnection
from tests.hostile import raw_request_fields, raw_request_framing, raw_request_lines
from tests.hostile.raw_requests import Hostile, get
from tests.support.factories import make_tenancy
from tests.support.fake_ollama import FakeOllama
from tests.support.gateways import LiveGateway, live_gateway
from tests.support.raw_exchange import Received, exchange
from tests.support.raw_requests_page import SECTIONS
from tests.support.stores import Stores

pytestmark = pytest.mark.asyncio(loop_scope="module")

TABLE = [request for section in SECTIONS.values() for request in section]
ANOTHER = get(b"Connection: close", target=b"/api/version")
NEVER_SENT = ("server", "x-powered-by", "access-control-allow-origin")
OF_THE_MODEL_SERVER = {"host", "accept", "accept-encoding", "user-agent", "content-type", "content-length"}


class SoonDone(CallerConnection):
    """The rest of a body that nobody wants is not waited for as long as in production."""

    unread_seconds = 0.3


@dataclass(frozen=True, slots=True)
class Target:
    gateway: LiveGateway
    ollama: FakeOllama
    stores: Stores
    key: str

    async def send(self, hostile: Hostile) -> tuple[Received, Received]:
        follow_up = ANOTHER.replace(b"@KEY@", self.key.encode())
        return await exchange(self.gateway.base_url, hostile.with_key(self.key), follow_up)

    async def still_serves(self) -> bool:
        other, _ = await exchange(self.gateway.base_url, ANOTHER.replace(b"@KEY@", self.key.encode()), b"")
        return other.status == 200


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def target(stores_of_a_module: Stores) -> AsyncIterator[Target]:
    changes: dict[str, Any] = {"auth_failures_per_minute": 100_000, "body_timeout_s": 0.3}
    async with (
        FakeOllama() as ollama,
        live_gateway(stores_of_a_module, ollama.base_url, protocol=SoonDone, **changes) as gateway,
    ):
        yield Target(gateway, ollama, stores_of_a_module, (await make_tenancy(gateway.services)).key)


@pytest.fixture(scope="module")
def stores_of_a_module(
    postgres: EmbeddedPostgres, valkey: EmbeddedValkey, template_database: str, as_superuser: Callable[[str], None]
) -> Stores:
    """One database for all the requests: each of them would otherwise wait longer for its own than for its answer."""
    as_superuser(f"CREATE DATABASE raw_requests TEMPLATE {template_database} STRATEGY file_copy OWNER gateway")
    return Stores(postgres.url_of("raw_requests"), valkey.url)


@pytest.mark.promise("N1", "N2", "N4")
@pytest.mark.parametrize("hostile", TABLE, ids=lambda hostile: hostile.name)
async def test_a_hostile_request_gets_what_the_table_says(target: Target, hostile: Hostile) -> None:
    before = len(target.ollama.requests)
    first, second = await target.send(hostile)
    assert first.status == hostile.status, first
    assert first.closed != hostile.kept, first
    assert not first.rest, "a second answer on one request"
    assert second.status == (200 if hostile.kept else 0), second
    assert await target.still_serves()
    reached = [seen.route for seen in target.ollama.requests[before:]]
    asked_again = ["/api/version"] * (1 + hostile.kept)
    assert reached == [*hostile.reached, *asked_again]
    assert not target.ollama.witness.malformed
    if first.status:
        check_answer(first, hostile)
    for seen in target.ollama.requests[before:]:
        assert {name.lower() for name, _ in seen.headers} <= OF_THE_MODEL_SERVER
        assert seen.header("host") == target.ollama.base_url.removeprefix("http://")
        assert seen.target == seen.route


def check_answer(answer: Received, hostile: Hostile) -> None:
    fields = answer.fields()
    assert not fields.keys() & set(NEVER_SENT)
    assert fields["x-request-id"]
    assert answer.told_to_continue == (
        b"Expect: 100-" in hostile.sent and b"HTTP/1.1" in hostile.sent and answer.status == 200
    )
    if answer.status >= 400 and answer.body:
        assert fields["content-type"] == "application/json"
        error = json.loads(answer.body)["error"]
        message = error if isinstance(error, str) else error["message"]
        assert message.endswith((".", "?"))


async def test_the_table_has_at_least_150_requests() -> None:
    assert len(TABLE) >= 150
    assert len({hostile.name for hostile in TABLE}) == len(TABLE)
    assert len({hostile.sent for hostile in TABLE}) == len(TABLE)
    modules = (raw_request_lines, raw_request_fields, raw_request_framing)
    assert sum(len(module.REQUESTS) for module in modules) == len(TABLE)
