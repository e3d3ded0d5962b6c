"""The command about rate limits."""

from neuronetz_gateway.cli import output, parsing
from neuronetz_gateway.cli.opened import management
from neuronetz_gateway.cli.options import AsJson, Concurrent, EnvFile, KeyScope, Rpm, TenantScope, Tpm
from neuronetz_gateway.cli.records import limits_record, limits_words
from neuronetz_gateway.cli.runtime import run
from neuronetz_gateway.cli.scope import OfTenant, scope_of
from neuronetz_gateway.domain.limit import Limits
from neuronetz_gateway.errors import InvalidRequestError
from neuronetz_gateway.services.management import Management


def set_limits(
    tenant: TenantScope = None,
    key: KeyScope = None,
    rpm: Rpm = None,
    tpm: Tpm = None,
    concurrent: Concurrent = None,
    as_json: AsJson = False,
    env_file: EnvFile = None,
) -> None:
    """Bound how often, how much, how many at once a tenant (all its keys together) or one key may call.

    It holds from the next request on; `none` takes a limit away. What is not named stays as it is.
    """
    scope = scope_of(tenant, key)
    changes = parsing.bounds({"rpm": rpm, "tpm": tpm, "concurrent": concurrent})
    if not changes:
        raise InvalidRequestError("Say which limit: --rpm N, --tpm N, --concurrent N, each a number or none.")

    async def work(managed: Management) -> Limits:
        if isinstance(scope, OfTenant):
            return (await managed.tenants.set_limits(scope.name, changes)).limits
        return (await managed.api_keys.set_limits(scope.prefix, changes)).limits

    limits = run(management, work, env_file)
    named = {"tenant": scope.name} if isinstance(scope, OfTenant) else {"key": scope.prefix}
    if as_json:
        output.document({**named, "limits": limits_record(limits)})
    else:
        kind, name = next(iter(named.items()))
        output.line(f"Limits of {kind} {name}: {limits_words(limits, 'none of its own')}.")
