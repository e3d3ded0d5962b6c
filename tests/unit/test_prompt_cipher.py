"""Sealed prompts open for whoever has the key, unchanged, in their own place, or not at all."""

import random
from dataclasses import replace

import pytest

from neuronetz_gateway.prompt_cipher import PromptCipher, PromptUnreadableError

KEY, OTHER = b"k" * 32, b"o" * 32


def cipher(key: bytes = KEY, previous: bytes | None = None) -> PromptCipher:
    return PromptCipher(key, previous, random_bytes=random.Random(7).randbytes)


@pytest.mark.parametrize("prompt", [b"", b"Hello", bytes(range(256)) * 256])
def test_what_was_sealed_opens_again(prompt: bytes) -> None:
    sealed = cipher().seal(prompt, b"context")
    assert cipher().open(sealed, b"context") == prompt
    assert not prompt or prompt not in sealed.text


def test_a_previous_key_goes_on_opening() -> None:
    sealed = cipher(OTHER).seal(b"Hello", b"context")
    assert cipher(KEY, OTHER).open(sealed, b"context") == b"Hello"
    with pytest.raises(PromptUnreadableError, match=sealed.key_id):
        cipher(KEY).open(sealed, b"context")


def test_no_byte_may_be_changed_nor_the_place() -> None:
    sealed = cipher().seal(b"Hello", b"context")
    for position in range(len(sealed.text)):
        text = bytearray(sealed.text)
        text[position] ^= 1
        with pytest.raises(PromptUnreadableError, match="changed"):
            cipher().open(replace(sealed, text=bytes(text)), b"context")
    with pytest.raises(PromptUnreadableError, match="changed"):
        cipher().open(sealed, b"another row")


def test_its_repr_shows_no_key() -> None:
    assert "k" * 8 not in repr(cipher())
