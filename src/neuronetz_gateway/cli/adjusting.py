"""The command that corrects what was used."""

from typing import Annotated
from uuid import UUID

import typer

from neuronetz_gateway.cli import output, parsing
from neuronetz_gateway.cli.opened import management
from neuronetz_gateway.cli.options import AsJson, EnvFile, KeyScope, TenantScope
from neuronetz_gateway.cli.records import Record
from neuronetz_gateway.cli.runtime import actor, run
from neuronetz_gateway.cli.scope import OfKey, OfTenant, scope_if_any
from neuronetz_gateway.domain.budget import BudgetUsage
from neuronetz_gateway.errors import InvalidRequestError
from neuronetz_gateway.services.adjusting import Adjusted, AdjustmentAsk
from neuronetz_gateway.services.management import Management


def adjust_usage(
    *,
    tokens: Annotated[
        str, typer.Option("--tokens", metavar="N", help="How many more were used; below 0 gives tokens back.")
    ],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Kept in the audit log beside who did it.")],
    tenant: TenantScope = None,
    key: KeyScope = None,
    request: Annotated[
        str | None,
        typer.Option(
            "--request",
            metavar="ID",
            show_default=False,
            help="Correct what this request was charged, in the windows in which it was; its id is that of audit list.",
        ),
    ] = None,
    as_json: AsJson = False,
    env_file: EnvFile = None,
) -> None:
    """Correct what a tenant, one of its keys, or one request was charged; it is written down in the audit log.

    Its main use: the gateway died amidst a request, recovery charged all that was reserved (`audit list --outcome
    abandoned`), and you know better. Without --request the windows of today, this month and in total are corrected;
    those of a key with those of its tenant. No window goes below nothing used.
    """
    scope = scope_if_any(tenant, key)
    if scope is None and request is None:
        raise InvalidRequestError("Say what this is about: --tenant NAME, --key PREFIX or --request ID.")
    ask = AdjustmentAsk(
        tokens=parsing.difference("--tokens", tokens),
        reason=parsing.label("--reason", reason),
        actor=actor(),
        tenant=scope.name if isinstance(scope, OfTenant) else None,
        key=scope.prefix if isinstance(scope, OfKey) else None,
        request=None if request is None else parsing.row_id("--request", request),
    )

    async def work(managed: Management) -> Adjusted:
        return await managed.adjuster.adjust(ask)

    done = run(management, work, env_file)
    if as_json:
        output.document(_record(done, ask.request))
    else:
        _print(done)


def _record(done: Adjusted, request: UUID | None) -> Record:
    return {
        "id": str(done.id),
        "tenant": done.tenant.name,
        "key": None if done.key is None else done.key.prefix,
        "request": None if request is None else str(request),
        "tokens": done.tokens,
        "windows": [
            {
                "scope": window.scope,
                "period": window.period.value,
                "window_start": output.iso(window.window_start),
                "before_tokens": window.used_tokens - done.tokens,
                "after_tokens": window.used_tokens,
            }
            for window in done.windows
        ],
    }


def _print(done: Adjusted) -> None:
    output.table(
        ("BUDGET", "SINCE", ">USED BEFORE", "", ">USED NOW"),
        (
            (
                f"{window.scope} {window.period.value}",
                _since(window),
                output.count(window.used_tokens - done.tokens),
                "->",
                output.count(window.used_tokens),
            )
            for window in done.windows
        ),
    )
    whose = f"tenant {done.tenant.name}" + ("" if done.key is None else f", key {done.key.prefix}")
    output.line(f"{done.tokens:+,} tokens for {whose}; written down as {done.id}.")


def _since(window: BudgetUsage) -> str:
    return "ever" if window.window_end is None else output.instant(window.window_start)
