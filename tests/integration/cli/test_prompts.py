"""Having prompts kept, reading and erasing them, from the command line."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from neuronetz_gateway.domain.identifier import uuid7
from neuronetz_gateway.domain.prompt import PromptRecord
from neuronetz_gateway.wiring import build_services
from tests.support.commands import command
from tests.support.gateways import make_settings, write_env_file
from tests.support.stores import Stores

NOBODY_THERE = "http://127.0.0.1:9"
PROMPT = '{"messages":"Hello \x1b[31m"}'


@pytest.fixture
def env_file(stores: Stores, tmp_path: Path, no_settings: None) -> Path:
    del no_settings
    return write_env_file(tmp_path / "test.env", make_settings(stores, NOBODY_THERE, prompt_log_key="a1b2c3d4" * 8))


@pytest.fixture
def prefix(env_file: Path) -> str:
    command("create-tenant", "--name", "acme", "--allow-all-models", env_file=env_file)
    return command("create-key", "--tenant", "acme", "--name", "ci", "--quiet", env_file=env_file).out[:12]


def keep_one(stores: Stores, prefix: str) -> str:
    """A prompt as a gateway keeps it; its id."""

    async def work() -> str:
        services = build_services(make_settings(stores, NOBODY_THERE, prompt_log_key="a1b2c3d4" * 8))
        key = (await services.usage.of_key(prefix)).key
        assert key is not None
        now = datetime.now(UTC)
        record = PromptRecord(
            uuid7(),
            key.tenant_id,
            key.id,
            "llama3:latest",
            "/api/chat",
            "r-1",
            now,
            now + timedelta(hours=1),
            len(PROMPT),
        )
        services.prompt_log.keep(record, PROMPT.encode())
        await services.aclose()
        return str(record.id)

    return asyncio.run(work())


def test_prompts_are_kept_for_as_long_as_was_said(env_file: Path, prefix: str) -> None:
    done = command("set-prompt-logging", "--key", prefix, "--for", "7d", env_file=env_file)
    assert done.out.startswith(f"Prompts of key {prefix} are kept, sealed, for 7d each")
    keys = command("list-keys", "--tenant", "acme", "--json", env_file=env_file).document["keys"]
    assert [key["prompt_log_seconds"] for key in keys] == [7 * 86_400]
    off = command("set-prompt-logging", "--key", prefix, "--for", "none", "--json", env_file=env_file).document
    assert off == {"key": prefix, "prompt_log_seconds": None}


def test_what_cannot_be_asked_is_said_in_one_line(env_file: Path, prefix: str, stores: Stores, tmp_path: Path) -> None:
    long = command("set-prompt-logging", "--key", prefix, "--for", "31d", env_file=env_file)
    assert "30 days (PROMPT_LOG_MAX_DAYS)" in long.error
    keyless = write_env_file(tmp_path / "keyless.env", make_settings(stores, NOBODY_THERE))
    assert (
        "PROMPT_LOG_KEY is not set"
        in command("set-prompt-logging", "--key", prefix, "--for", "1h", env_file=keyless).error
    )


def test_one_prompt_is_listed_read_then_erased(env_file: Path, prefix: str, stores: Stores) -> None:
    prompt_id = keep_one(stores, prefix)
    listed = command("audit", "list-prompts", "--key", prefix, env_file=env_file).out
    assert prompt_id in listed
    assert "Hello" not in listed
    shown = command("audit", "show-prompt", "--id", prompt_id, env_file=env_file)
    assert shown.out == '{"messages":"Hello \\x1b[31m"}\n'
    document = command("audit", "show-prompt", "--id", prompt_id, "--json", env_file=env_file).document
    assert (document["prompt"], document["cut"]) == (PROMPT, False)
    assert command("audit", "erase-prompts", "--tenant", "acme", env_file=env_file).out == "Prompts erased: 1.\n"
    assert "No prompt is kept" in command("audit", "show-prompt", "--id", prompt_id, env_file=env_file).error
    rows = asyncio.run(
        stores.fetch("select reason from audit_log where outcome = 'noted' order by sequence, admitted_at")
    )
    assert [row["reason"] for row in rows].count("prompt read") == 2
    assert "prompts erased: 1" in [row["reason"] for row in rows]


def test_an_id_that_is_none_is_told_so(env_file: Path) -> None:
    assert "--id takes the id" in command("audit", "show-prompt", "--id", "x", env_file=env_file).error
