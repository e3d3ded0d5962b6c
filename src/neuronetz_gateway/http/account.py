"""The page on which a key sees its own limits, budgets, usage."""

import math
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import orjson
from starlette.types import Receive, Scope, Send

from neuronetz_gateway.domain.audit import Outcome
from neuronetz_gateway.domain.budget import BudgetUsage
from neuronetz_gateway.domain.request_policy import RequestPolicy
from neuronetz_gateway.domain.standing import AxisStanding, ScopeStanding
from neuronetz_gateway.http.ending import OK_STATUS
from neuronetz_gateway.http.exchange import exchange_of
from neuronetz_gateway.services.account import Account, AccountReader

type Record = dict[str, Any]

_NO_LIMIT: Record = {"limit": None, "left": None, "resets_in_seconds": None}
_MILLISECONDS = 1000


class AccountPage:
    """The end of a chain of its own: nothing is admitted, reserved or sent up (DESIGN §6)."""

    def __init__(self, accounts: AccountReader, policy: RequestPolicy) -> None:
        self.accounts, self.policy = accounts, policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del receive
        exchange = exchange_of(scope)
        body = orjson.dumps(account_record(await self.accounts.of(exchange.principal), self.policy))
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": OK_STATUS, "headers": headers})
        exchange.status, exchange.response_started = OK_STATUS, True
        exchange.outcome = Outcome.COMPLETED
        await send({"type": "http.response.body", "body": body})


def account_record(account: Account, policy: RequestPolicy) -> Record:
    """An account as callers see it; the names are part of the interface, null means that there is none.

    `policy` holds for keys that have none of their own. From where a key may be used is not shown: whoever found it
    would be told from where to try.
    """
    principal = account.principal
    return {
        "key": {
            "name": principal.key_name,
            "prefix": principal.key_prefix,
            "expires_at": _iso(principal.expires_at),
        },
        "tenant": {"name": principal.tenant_name, "time_zone": principal.time_zone},
        "allow_all_models": principal.allow_all_models,
        "models": sorted(principal.allowed_models),
        "permissions": {"load_models": principal.may_load_models},
        "policy": asdict(policy if principal.policy is None else policy.changed_by(principal.policy)),
        "limits": {"tenant": _limits(account.of_tenant), "key": _limits(account.of_key)},
        "budgets": {scope: _budgets(account, scope) for scope in ("tenant", "key")},
        "usage_today": {
            "date": account.day.isoformat(),
            "time_zone": principal.time_zone,
            "models": [
                {
                    "model": usage.model or None,
                    "requests": usage.requests,
                    "prompt_tokens": usage.prompt_tokens,
                    "output_tokens": usage.output_tokens,
                    "charged_tokens": usage.charged_tokens,
                }
                for usage in account.today
            ],
        },
        "at": _iso(account.at),
    }


def _limits(standing: ScopeStanding) -> Record:
    return {
        "rpm": _axis(standing.rpm),
        "tpm": _axis(standing.tpm),
        "concurrent": _axis(standing.concurrent),
        "output_cap": standing.output_cap,
    }


def _axis(axis: AxisStanding | None) -> Record:
    if axis is None:
        return _NO_LIMIT
    seconds = axis.reset_seconds
    if seconds is not None:
        seconds = math.ceil(round(seconds * _MILLISECONDS, 3)) / _MILLISECONDS
    return {"limit": axis.limit, "left": axis.left, "resets_in_seconds": seconds}


def _budgets(account: Account, scope: str) -> Record:
    return {budget.period.value: _budget(budget) for budget in account.budgets if budget.scope == scope}


def _budget(budget: BudgetUsage) -> Record:
    return {
        "limit_tokens": budget.limit_tokens,
        "used_tokens": budget.used_tokens,
        "reserved_tokens": budget.reserved_tokens,
        "left_tokens": budget.left_tokens,
        "window_start": _iso(budget.window_start),
        "resets_at": _iso(budget.window_end),
    }


def _iso(moment: datetime | None) -> str | None:
    """A moment for machines: ISO 8601 in UTC, or null."""
    return None if moment is None else moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
