"""Setting budgets, seeing usage, from the command line."""

import asyncio
from pathlib import Path

import pytest

from tests.support.commands import command
from tests.support.stores import Stores


@pytest.fixture
def prefix(env_file: Path) -> str:
    command("create-tenant", "--name", "acme", "--allow-all-models", env_file=env_file)
    return command("create-key", "--tenant", "acme", "--name", "ci", "--quiet", env_file=env_file).out[:12]


def budgets_of(document: dict[str, list[dict[str, object]]]) -> dict[str, object]:
    return {f"{budget['scope']} {budget['period']}": budget["limit_tokens"] for budget in document["budgets"]}


def test_several_budgets_are_set_at_once_while_others_stay(env_file: Path, prefix: str) -> None:
    words = ("set-budget", "--tenant", "acme")
    first = command(*words, "--daily", "1_000", "--total", "5000", "--json", env_file=env_file).document
    assert budgets_of(first) == {"tenant daily": 1000, "tenant monthly": None, "tenant total": 5000}
    second = command(*words, "--daily", "none", "--monthly", "0", "--json", env_file=env_file).document
    assert budgets_of(second) == {"tenant daily": None, "tenant monthly": 0, "tenant total": 5000}
    table = command("set-budget", "--key", prefix, "--daily", "10", env_file=env_file).out
    assert [line.split()[:2] for line in table.splitlines()[1:]] == [
        ["key", "daily"],
        ["key", "monthly"],
        ["key", "total"],
    ]


@pytest.mark.usefixtures("prefix")
def test_a_mistake_in_one_budget_changes_none(env_file: Path, stores: Stores) -> None:
    words = ("set-budget", "--tenant", "acme", "--daily", "1", "--monthly", "many")
    assert "--monthly" in command(*words, env_file=env_file).error
    assert asyncio.run(stores.fetch("SELECT * FROM budgets")) == []


async def test_usage_shows_how_full_each_budget_is(env_file: Path, stores: Stores) -> None:
    async def done(*words: str) -> str:
        return (await asyncio.to_thread(command, *words, env_file=env_file)).out

    await done("create-tenant", "--name", "acme", "--allow-all-models", "--time-zone", "Asia/Kolkata")
    prefix = (await done("create-key", "--tenant", "acme", "--name", "ci", "--quiet"))[:12]
    await done("set-budget", "--tenant", "acme", "--daily", "1000")
    await done("set-budget", "--key", prefix, "--total", "2000")
    await _use(stores, prefix, model="qwen3:latest", tokens=800)
    page = await done("show-usage", "--key", prefix)
    rows = {" ".join(line.split()[:2]): line for line in page.splitlines()}
    assert "████████████████░░░░ 80 %" in rows["tenant daily"]
    assert "████████░░░░░░░░░░░░ 40 %" in rows["key total"]
    assert "unlimited" in rows["tenant total"]
    assert "never" in rows["key total"]
    assert "18:30 UTC)" in rows["tenant daily"]  # midnight in Kolkata
    assert "qwen3:latest" in page
    assert "Asia/Kolkata" in page


@pytest.mark.usefixtures("prefix")
def test_usage_of_a_tenant_without_any_is_no_empty_table(env_file: Path) -> None:
    page = command("show-usage", "--tenant", "acme", env_file=env_file).out
    assert "No request has been answered this month." in page
    assert "tenant total" in page
    assert "tenant daily" not in page


async def test_usage_as_a_document(env_file: Path, stores: Stores) -> None:
    await asyncio.to_thread(command, "create-tenant", "--name", "acme", env_file=env_file)
    made = await asyncio.to_thread(
        command, "create-key", "--tenant", "acme", "--name", "ci", "--quiet", env_file=env_file
    )
    other = await asyncio.to_thread(
        command, "create-key", "--tenant", "acme", "--name", "other", "--quiet", env_file=env_file
    )
    await _use(stores, made.out[:12], model="qwen3:latest", tokens=800)
    of_tenant = (
        await asyncio.to_thread(command, "show-usage", "--tenant", "acme", "--json", env_file=env_file)
    ).document
    assert of_tenant.keys() == {"tenant", "key", "status", "time_zone", "limits", "budgets", "usage", "at", "period"}
    assert (of_tenant["tenant"], of_tenant["key"], len(of_tenant["budgets"])) == ("acme", None, 3)
    consumed = {
        "model": "qwen3:latest",
        "requests": 1,
        "prompt_tokens": 300,
        "output_tokens": 500,
        "charged_tokens": 800,
    }
    assert of_tenant["usage"] == {"today": [consumed], "month": [consumed]}
    of_key = await asyncio.to_thread(command, "show-usage", "--key", other.out[:12], "--json", env_file=env_file)
    assert of_key.document["usage"] == {"today": [], "month": []}
    assert [budget["used_tokens"] for budget in of_key.document["budgets"]] == [800, 800, 800, 0, 0, 0]


async def _use(stores: Stores, prefix: str, *, model: str, tokens: int) -> None:
    """One request of now, as the ledger writes it down."""
    await stores.execute(
        """
        INSERT INTO audit_log (id, tenant_id, api_key_id, request_id, endpoint, model, outcome, status, prompt_tokens,
                               output_tokens, charged_tokens, admitted_at, address, user_agent)
        SELECT gen_random_uuid(), tenant_id, id, 'r', '/api/chat', $2, 'completed', 200, 300,
               $3::bigint - 300, $3::bigint, now(), '127.0.0.1', '' FROM api_keys WHERE prefix = $1
        """,
        prefix,
        model,
        tokens,
    )
    await stores.execute(
        """
        INSERT INTO budget_usage (tenant_id, scope_id, period, window_start, used)
        SELECT k.tenant_id, w.scope_id, w.period, w.window_start, $2::bigint
        FROM api_keys k JOIN tenants t ON t.id = k.tenant_id
        CROSS JOIN LATERAL budget_windows_r1(k.tenant_id, k.id,
            date_trunc('day', now() AT TIME ZONE t.time_zone) AT TIME ZONE t.time_zone,
            date_trunc('month', now() AT TIME ZONE t.time_zone) AT TIME ZONE t.time_zone) w
        WHERE k.prefix = $1
        """,
        prefix,
        tokens,
    )
