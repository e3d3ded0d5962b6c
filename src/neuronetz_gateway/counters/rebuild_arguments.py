"""The keys of a rebuild with its arguments, in the order of rebuild.lua."""

from uuid import UUID

from neuronetz_gateway.counters.call import Part
from neuronetz_gateway.counters.names import KeyNames
from neuronetz_gateway.domain.rate_history import RateHistory


def rebuild_arguments(names: KeyNames, tenant_id: UUID, history: RateHistory) -> tuple[tuple[Part, ...], list[Part]]:
    """The keys, then what follows the tenant's version."""
    counted = {bucket.api_key_id for bucket in history.buckets}
    counted.update(request.api_key_id for request in history.open_requests)
    places = {api_key_id: place for place, api_key_id in enumerate(counted, start=1)}
    keys: list[Part] = [names.warm(tenant_id), names.rebuild(tenant_id)]
    keys += names.rates_and_leases(tenant_id, tenant_id)[::2]
    for api_key_id in places:
        keys += names.rates_and_leases(tenant_id, api_key_id)[1::2]
    keys += (names.ended(tenant_id, request.id) for request in history.open_requests)
    arguments: list[Part] = [len(places), len(history.buckets)]
    for bucket in history.buckets:
        arguments += (places[bucket.api_key_id], bucket.second, bucket.requests, bucket.tokens)
    for request in history.open_requests:
        arguments += (places[request.api_key_id], request.second, request.id.hex, request.estimated_tokens)
    return tuple(keys), arguments
