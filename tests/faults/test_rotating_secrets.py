"""Secrets are exchanged as docs/OPERATIONS.md says, step by step: no caller and no verifier notices."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import redis

from neuronetz_gateway.errors import UnauthenticatedError
from neuronetz_gateway.wiring import Services, build_services
from tests.support.commands import command
from tests.support.counters import Server
from tests.support.documents import commands_under
from tests.support.factories import make_key, make_tenancy
from tests.support.gateways import PEPPER, make_settings, write_env_file
from tests.support.pasting import paste, postgres_variables
from tests.support.stores import Stores

PAGE = "docs/OPERATIONS.md"
NOBODY_THERE = "http://127.0.0.1:9"
NEW_PEPPER = "fedcba9876543210fedcba9876543210-new-pepper-of-the-tests"
STEPS = (
    {"key_pepper": PEPPER, "key_pepper_previous": NEW_PEPPER},
    {"key_pepper": NEW_PEPPER, "key_pepper_previous": PEPPER},
)
(QUERY,) = commands_under(PAGE, "KEY_PEPPER")
(SIGN_ANEW,) = commands_under(PAGE, "AUDIT_SIGNING_KEY, which signs checkpoints")
SIGNING = "0123456789abcdef0123456789abcdef-"
WRITE_A_ROW = "neuronetz-gateway adjust-usage --tenant acme --tokens 5 --reason rotation"
ADD, TAKE_AWAY = commands_under(PAGE, "The password of Redis")


@asynccontextmanager
async def gateway(stores: Stores, **secrets: str) -> AsyncIterator[Services]:
    services = build_services(make_settings(stores, NOBODY_THERE, **secrets))
    try:
        yield services
    finally:
        await services.aclose()  # what it had to write behind a caller's back is written by then


async def knows(services: Services, key: str) -> bool:
    """Raises UnauthenticatedError where it does not."""
    return (await services.authenticator.authenticate(key, "192.0.2.1")).key_prefix == key[:12]


@pytest.mark.promise("A6")
async def test_a_pepper_is_exchanged_while_keys_go_on_working(stores: Stores, tmp_path: Path) -> None:
    both, exchanged = STEPS
    async with gateway(stores) as before:
        used = await make_tenancy(before)
        unused = await make_key(before, used.tenant)
        assert await knows(before, used.key)
    async with gateway(stores, **both) as waiting:
        assert await knows(waiting, used.key)
        async with gateway(stores, **exchanged) as first:
            assert await knows(first, used.key)
        assert await pepper_ids(stores) == {unused.api_key.prefix: 0, used.api_key.prefix: 1}
    async with gateway(stores, **both) as late:  # restarted once more before its turn: it has to find the digest good
        assert await knows(late, used.key)
    name = stores.database_url.partition("?")[0].rpartition("/")[2]
    lines = [line.replace("--dbname=gateway", f"--dbname={name}") for line in QUERY]
    paste(lines, {**postgres_variables(stores.database_url), "PWD": str(tmp_path)})
    async with gateway(stores, **exchanged) as second:
        assert await knows(second, used.key)
    async with gateway(stores, key_pepper=NEW_PEPPER) as after:
        assert await knows(after, used.key)
        with pytest.raises(UnauthenticatedError):
            await knows(after, unused.key)


async def pepper_ids(stores: Stores) -> dict[str, int]:
    """Each key by its prefix with the pepper under which it stands: 0 is that of the oldest."""
    rows = await stores.fetch("select prefix, pepper_id from api_keys order by created_at")
    found = list(dict.fromkeys(row["pepper_id"] for row in reversed(rows)))
    return {row["prefix"]: found.index(row["pepper_id"]) for row in rows}


def test_a_signing_key_is_exchanged_once_something_was_written_under_the_new_one(
    stores: Stores, tmp_path: Path
) -> None:
    old, new = (
        write_env_file(tmp_path / f"{name}.env", make_settings(stores, NOBODY_THERE, audit_signing_key=SIGNING + name))
        for name in ("old", "new")
    )
    paste(["neuronetz-gateway create-tenant --name acme", WRITE_A_ROW, *SIGN_ANEW], {}, old)
    assert "signed by a key that is not known here" in command("audit", "verify", env_file=new).out
    paste([WRITE_A_ROW, *SIGN_ANEW], {}, new)


def test_a_password_of_redis_is_exchanged_while_both_are_good(tmp_path: Path) -> None:
    server, old, new = Server(tmp_path / "valkey"), "old-password-of-redis", "new-password-of-redis"
    server.ask("ACL", "SETUSER", "default", f">{old}")
    paste(ADD, {"REDIS_URL": with_password(server, old), "NEW": new})
    assert [server.ask_as(each, "PING") for each in (old, new)] == [True, True]
    paste(TAKE_AWAY, {"REDIS_URL": with_password(server, new), "OLD": old})
    assert server.ask_as(new, "PING")
    with pytest.raises(redis.AuthenticationError):
        server.ask_as(old, "PING")
    server.stop()


def with_password(server: Server, password: str) -> str:
    return server.url.replace("unix://", f"unix://:{password}@")
