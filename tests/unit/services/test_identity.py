"""What the caches hold about a verified key."""

from dataclasses import fields, replace
from datetime import UTC, datetime
from hashlib import sha256
from uuid import UUID

import msgspec
import pytest

from neuronetz_gateway.domain.limit import Limits
from neuronetz_gateway.domain.principal import Principal
from neuronetz_gateway.services.bounded_memory import BoundedMemory
from neuronetz_gateway.services.identity import Identity, Proof, decoded, encoded

PRINCIPAL = Principal(
    tenant_id=UUID(int=1),
    tenant_name="acme",
    tenant_version=3,
    api_key_id=UUID(int=2),
    key_prefix="nz_abcdefghi",
    key_name="ci",
    key_version=4,
    tenant_limits=Limits(rpm=60),
    key_limits=Limits(tpm=1000, output_cap=5),
    allow_all_models=False,
    allowed_models=frozenset({"llama3.2:latest", "qwen3:8b"}),
    time_zone="Europe/Berlin",
    expires_at=datetime(2030, 1, 1, tzinfo=UTC),
    may_load_models=True,
    prompt_log_seconds=60,
)
IDENTITY = Identity(PRINCIPAL, Proof(UUID(int=2), "f00d", b"0123456789abcdef"))


@pytest.mark.parametrize("expires_at", [None, PRINCIPAL.expires_at])
def test_an_identity_survives_the_way_through_the_cache(expires_at: datetime | None) -> None:
    identity = replace(IDENTITY, principal=replace(PRINCIPAL, expires_at=expires_at))
    assert decoded(encoded(identity)) == identity


@pytest.mark.promise("A11")
def test_what_a_release_wrote_that_knew_fewer_fields_is_nothing() -> None:
    """A process of the release before names no `may_load_models`: that must be read anew, not taken as given."""
    tree = msgspec.msgpack.decode(encoded(IDENTITY))
    del tree["principal"]["may_load_models"]
    names = [field.name for shape in (Principal, Limits, Proof) for field in fields(shape)]
    names.remove("may_load_models")
    tree["layout"] = sha256(",".join(names).encode()).hexdigest()[:16]
    assert decoded(msgspec.msgpack.encode(tree)) is None


@pytest.mark.promise("A11")
def test_anything_odd_is_nothing() -> None:
    payload = encoded(IDENTITY)
    tree = msgspec.msgpack.decode(payload)
    odd = [payload[:cut] for cut in range(len(payload))]
    odd += [payload + b"\x00", b"null", msgspec.json.encode(tree)]
    odd += [
        msgspec.msgpack.encode(tree | {"layout": "other"}),
        msgspec.msgpack.encode(tree | {"more": 1}),
        msgspec.msgpack.encode({name: value for name, value in tree.items() if name != "proof"}),
        msgspec.msgpack.encode(tree | {"principal": tree["principal"] | {"tenant_version": "3"}}),
        msgspec.msgpack.encode(tree | {"proof": tree["proof"] | {"api_key_id": str(UUID(int=9))}}),
    ]
    assert [decoded(one) for one in odd] == [None] * len(odd)


def test_a_memory_forgets_what_is_old_then_what_was_not_asked_for() -> None:
    now = [0.0]
    memory = BoundedMemory[int](capacity=2, ttl_seconds=10, clock=lambda: now[0])
    memory.keep(b"a", 1)
    memory.keep(b"b", 2)
    assert memory.find(b"a") == 1
    memory.keep(b"c", 3)
    assert (memory.find(b"a"), memory.find(b"b"), memory.find(b"c")) == (1, None, 3)
    now[0] = 10.0
    assert (memory.find(b"a"), memory.find(b"c"), len(memory)) == (None, None, 0)
