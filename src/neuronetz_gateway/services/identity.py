"""A verified key as the caches keep it: a principal beside the proof of its secret."""

from dataclasses import dataclass, fields
from hashlib import sha256
from uuid import UUID

import msgspec

from neuronetz_gateway.domain.limit import Limits
from neuronetz_gateway.domain.principal import Principal
from neuronetz_gateway.domain.request_policy import KeyPolicy


@dataclass(frozen=True, slots=True)
class Proof:
    """That Argon2id has agreed to a key: to which key id, under which pepper, against which stored hash.

    It holds for as long as the stored hash has the fingerprint, however often the principal changes meanwhile.
    """

    api_key_id: UUID
    pepper_id: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class Identity:
    principal: Principal
    proof: Proof


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    layout: str
    principal: Principal
    proof: Proof


# A process of another release may know other fields: a limit that it left out would be read as no limit.
_LAYOUT = sha256(
    ",".join(field.name for shape in (Principal, Limits, KeyPolicy, Proof) for field in fields(shape)).encode()
).hexdigest()[:16]
_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(_Entry)


def encoded(identity: Identity) -> bytes:
    """An identity as it goes to the shared cache, which adds the MAC."""
    return _ENCODER.encode(_Entry(_LAYOUT, identity.principal, identity.proof))


def decoded(payload: bytes) -> Identity | None:
    """The identity that a payload is, or None for anything odd."""
    try:
        entry = _DECODER.decode(payload)
    except msgspec.MsgspecError:
        return None
    if entry.layout != _LAYOUT or entry.proof.api_key_id != entry.principal.api_key_id:
        return None
    return Identity(entry.principal, entry.proof)
