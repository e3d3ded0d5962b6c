"""Digests under the pepper, proofs by Argon2id."""

import secrets
from uuid import UUID

import pytest

from neuronetz_gateway.domain.api_key import KeyCredential, PlainKey
from neuronetz_gateway.errors import UnavailableError
from neuronetz_gateway.key_hashing import KeyHasher

OLD, NEW = b"o" * 32, b"n" * 32
KEY = PlainKey("nz_" + "a1B2" * 10 + "z")
OTHER = PlainKey("nz_" + "a1B2" * 10 + "y")


def hasher(pepper: bytes = NEW, previous: bytes | None = None, *, memory_kib: int = 8, time_cost: int = 1) -> KeyHasher:
    return KeyHasher(pepper, previous, memory_kib=memory_kib, time_cost=time_cost, parallelism=1)


def credential(by: KeyHasher, key: PlainKey = KEY) -> KeyCredential:
    return KeyCredential(UUID(int=1), "unused", by.digest(key), by.pepper_id, None)


def test_a_key_matches_its_own_digest_only() -> None:
    assert hasher().matches(KEY, credential(hasher()))
    assert not hasher().matches(OTHER, credential(hasher()))
    assert not hasher().dummy_matches(KEY)


def test_the_digest_is_the_hmac_of_the_full_key_under_the_pepper() -> None:
    """Other writers of api_keys compute it too, so its definition must not drift; the figure is from openssl dgst."""
    expected = "ec4be9ff27050ebc41039f596f50acf942049ae2b34bd2d54e63a20e435fe77c"
    assert hasher().digest(KEY).hex() == expected


def test_credentials_of_the_previous_pepper_match_while_it_is_configured() -> None:
    before = credential(hasher(OLD))
    assert hasher(NEW, OLD).matches(KEY, before)
    assert not hasher(NEW, OLD).matches(OTHER, before)
    assert not hasher(NEW).matches(KEY, before)


def test_an_unknown_pepper_counts_as_no_match() -> None:
    known = credential(hasher())
    assert not hasher().matches(KEY, KeyCredential(known.api_key_id, "unused", known.digest, "elsewhere", None))


def test_no_derived_value_is_another_or_the_pepper() -> None:
    one = hasher()
    values = {one.digest(KEY), one.cache_name(KEY), one.mac_key, one.fingerprint(KEY.value), NEW}
    assert len(values) == 5
    assert not any(value.hex().startswith(one.pepper_id) for value in values)


def test_cache_names_differ_by_every_character_and_by_the_pepper() -> None:
    one = hasher()
    alphabet = "0123456789abcxyz"
    mutants = {PlainKey(KEY.value[:i] + c + KEY.value[i + 1 :]) for i in range(3, 44) for c in alphabet} | {KEY}
    assert len({one.cache_name(key) for key in mutants}) == len(mutants)
    assert one.cache_name(KEY) == hasher().cache_name(KEY)
    assert one.cache_name(KEY) != hasher(OLD).cache_name(KEY)


def test_argon2id_agrees_to_the_key_alone() -> None:
    stored = hasher().hash(KEY)
    assert stored.startswith("$argon2id$v=19$m=8,t=1,p=1$")
    assert hasher().verify(KEY, stored)
    assert not hasher().verify(OTHER, stored)
    assert not hasher().verify(KEY, "no hash at all")


def test_a_hash_of_other_parameters_verifies_then_wants_to_be_renewed() -> None:
    stored = hasher(memory_kib=8).hash(KEY)
    assert hasher(memory_kib=16).verify(KEY, stored)
    assert hasher(memory_kib=16).needs_rehash(stored)
    assert not hasher(memory_kib=8).needs_rehash(stored)


def test_a_verification_that_cannot_be_computed_is_an_outage_not_a_wrong_key() -> None:
    """Argon2 without memory for its work must not answer 401 to the owner of a good key."""
    huge = "$argon2id$v=19$m=4294967295,t=1,p=1$" + "c2FsdHNhbHQ$" + "aGFzaGhhc2hoYXNoaGFzaA"
    with pytest.raises(UnavailableError):
        hasher().verify(KEY, huge)


@pytest.mark.promise("A7")
def test_no_secret_shows_in_a_repr() -> None:
    shown = repr(hasher()) + repr(vars(KeyCredential)) + repr(credential(hasher())) + repr(KEY)
    for secret in (NEW.decode(), KEY.value, hasher().digest(KEY).hex(), repr(hasher().digest(KEY))):
        assert secret not in shown


def test_an_issued_key_hashes_and_verifies() -> None:
    key = PlainKey.issue(secrets.choice)
    assert hasher().verify(key, hasher().hash(key))
