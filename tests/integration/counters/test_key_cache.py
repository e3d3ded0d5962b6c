"""The shared cache of verified principals."""

import secrets

import pytest

from neuronetz_gateway.counters.connection import BatchedRedis
from neuronetz_gateway.counters.errors import CountersUnavailableError
from neuronetz_gateway.counters.key_cache import KeyCache
from tests.support.counters import Server, batched

MAC_KEY = b"m" * 32
NAME, OTHER = b"n" * 32, b"o" * 32
PAYLOAD = b'{"tenant":"acme"}\x00\xff'


class Alarm:
    def __init__(self) -> None:
        self.rung = 0

    def ring(self) -> None:
        self.rung += 1


@pytest.fixture
def alarm() -> Alarm:
    return Alarm()


@pytest.fixture
def cache(connection: BatchedRedis, alarm: Alarm) -> KeyCache:
    return KeyCache(connection, mac_key=MAC_KEY, ttl_seconds=60, on_forged=alarm.ring)


async def test_what_was_stored_is_found_until_it_is_forgotten(server: Server, cache: KeyCache, alarm: Alarm) -> None:
    assert await cache.find(NAME) is None
    await cache.store(NAME, PAYLOAD)
    assert await cache.find(NAME) == PAYLOAD
    assert await cache.find(OTHER) is None
    assert 0 < server.ask("TTL", f"nz:key:{NAME.hex()}") <= 60
    await cache.forget(NAME)
    assert await cache.find(NAME) is None
    assert alarm.rung == 0


@pytest.mark.promise("A11")
async def test_an_edited_entry_is_never_found(server: Server, cache: KeyCache, alarm: Alarm) -> None:
    await cache.store(NAME, PAYLOAD)
    key = f"nz:key:{NAME.hex()}"
    entry: bytes = server.ask("GET", key)
    edits = [entry[:at] + bytes([entry[at] ^ 1]) + entry[at + 1 :] for at in range(len(entry))]
    edits += [entry[:length] for length in range(len(entry))] + [entry + b"x", b"x" + entry]
    for edited in edits:
        server.ask("SET", key, edited)
        assert await cache.find(NAME) is None
    assert alarm.rung == len(edits)
    server.ask("SET", key, entry)
    assert await cache.find(NAME) == PAYLOAD


@pytest.mark.promise("A11")
async def test_a_genuine_entry_under_another_name_is_never_found(server: Server, cache: KeyCache, alarm: Alarm) -> None:
    await cache.store(NAME, PAYLOAD)
    server.ask("COPY", f"nz:key:{NAME.hex()}", f"nz:key:{OTHER.hex()}")
    assert await cache.find(OTHER) is None
    assert alarm.rung == 1


@pytest.mark.promise("A11")
async def test_an_entry_sealed_with_another_key_is_never_found(
    connection: BatchedRedis, cache: KeyCache, alarm: Alarm
) -> None:
    await KeyCache(connection, mac_key=secrets.token_bytes(32), ttl_seconds=60).store(NAME, PAYLOAD)
    assert await cache.find(NAME) is None
    assert alarm.rung == 1


async def test_without_redis_it_says_so(tmp_path_factory: pytest.TempPathFactory) -> None:
    nowhere = tmp_path_factory.mktemp("n") / "none.sock"
    async with batched(f"unix://{nowhere}") as connection:
        cache = KeyCache(connection, mac_key=MAC_KEY, ttl_seconds=60)
        for attempt in (cache.find(NAME), cache.store(NAME, PAYLOAD), cache.forget(NAME)):
            with pytest.raises(CountersUnavailableError):
                await attempt
