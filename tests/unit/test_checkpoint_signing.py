"""Signing under a derived key, checking by the public key alone."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from neuronetz_gateway.checkpoint_signing import CheckpointKeys, CheckpointSigner, key_id_of, read_public_key
from neuronetz_gateway.errors import InvalidRequestError
from neuronetz_gateway.key_hashing import KeyHasher

SECRET = b"0123456789abcdef0123456789abcdef"


def test_a_secret_gives_one_key_for_ever_which_another_secret_does_not_give() -> None:
    signer = CheckpointSigner(SECRET)
    # fixed: checkpoints of years ago must be checked by the same key
    assert signer.public_key.hex() == "0de6f29b5dad34061e80c3ab4682cfabe34a92ea66cffb74c52411507ab4e031"
    assert signer.public_key == CheckpointSigner(SECRET).public_key
    assert signer.public_key != CheckpointSigner(SECRET + b"x").public_key
    assert signer.key_id == key_id_of(signer.public_key)
    assert len(signer.key_id) == 16
    assert SECRET.decode() not in repr(signer)


def test_anybody_can_check_a_signature_by_the_public_key() -> None:
    signer = CheckpointSigner(SECRET)
    signature = signer.sign("ä document")
    Ed25519PublicKey.from_public_bytes(signer.public_key).verify(signature, "ä document".encode())
    keys = CheckpointKeys([signer.public_key])
    assert keys.verifies(signer.key_id, "ä document", signature)
    assert not keys.verifies(signer.key_id, "a document", signature)
    assert not keys.verifies(signer.key_id, "ä document", signature[:-1])
    assert not keys.verifies(signer.key_id, "ä document", b"")
    assert not CheckpointKeys([]).verifies(signer.key_id, "ä document", signature)


def test_the_key_is_none_of_those_that_the_pepper_gives_elsewhere() -> None:
    hasher = KeyHasher(SECRET, None, memory_kib=8, time_cost=1, parallelism=1)
    assert CheckpointSigner(SECRET).key_id != hasher.pepper_id
    assert CheckpointSigner(hasher.mac_key).public_key != CheckpointSigner(SECRET).public_key


@pytest.mark.parametrize("text", ["", "abc", "z" * 64, "a" * 63, "a" * 66])
def test_what_is_no_public_key_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="64 hexadecimal digits"):
        read_public_key(text)
    assert read_public_key(f" {'ab' * 32}\n") == bytes.fromhex("ab" * 32)
