"""Requests made from those of the table by changing their bytes."""

import random
from collections.abc import Iterator, Sequence

_PIECES = (
    b"\r\n", b"\n", b"\r", b"\x00", b" ", b"\t", b":", b": ", b";", b",", b"\r\n\r\n", b"0\r\n\r\n", b"\xff", b"%",
    b"%2f", b"..", b"//", b"\\", b"#", b"?", b"-", b"+", b"0x", b"_", b"\x7f", b"\x80", b'"', b"{", b"}", b"HTTP/1.1",
    b"\r\nHost: evil.example", b"\r\nContent-Length: 5", b"\r\nContent-Length: 0", b"\r\nTransfer-Encoding: chunked",
    b"\r\nTransfer-Encoding: identity", b"\r\nConnection: close", b"\r\nConnection: keep-alive", b"\r\nExpect: x",
    b"\r\nExpect: 100-continue", b"\r\nUpgrade: h2c\r\nConnection: upgrade", b"\r\n X: folded", b"GET ", b"POST ",
    b"/api/pull", b"/api/tags", b"/v1/chat/completions", b"99999999999999999999", b"a" * 300,
)  # fmt: skip


def mutations(bases: Sequence[bytes], count: int, seed: int) -> Iterator[bytes]:
    """`count` mutants, the same ones for the same seed."""
    chosen = random.Random(seed)
    for _ in range(count):
        mutant = chosen.choice(bases)
        for _ in range(chosen.choice((1, 1, 2, 3, 5))):
            mutant = _changed(mutant, bases, chosen)
        yield mutant


def _changed(sent: bytes, bases: Sequence[bytes], chosen: random.Random) -> bytes:
    kind = chosen.randrange(10)
    if kind == 0:
        return _with_lines(sent, chosen)
    if kind == 1:
        return _with_digit(sent, chosen)
    place = chosen.randrange(len(sent) + 1)
    end = min(len(sent), place + chosen.choice((1, 1, 2, 4, 16)))
    piece, other = chosen.choice(_PIECES), chosen.choice(bases)
    made = (
        sent[:place] + bytes([chosen.randrange(256)]) + sent[place + 1 :],
        sent[:place] + sent[end:],
        sent[:end] + sent[place:],
        sent[:place] + piece + sent[place:],
        sent[:place] + piece + sent[end:],
        sent[:place] + other[chosen.randrange(len(other)) :],
        sent[:place] or b"\r\n",
    )
    return chosen.choice(made)


def _with_digit(sent: bytes, chosen: random.Random) -> bytes:
    digits = [at for at, byte in enumerate(sent) if chr(byte).isdigit()]
    at = chosen.choice(digits) if digits else 0
    return sent[:at] + chosen.choice((b"0", b"9", b"-1", b"f", b" 1", b"1 ")) + sent[at + 1 :]


def _with_lines(sent: bytes, chosen: random.Random) -> bytes:
    """Two lines changed places, or one stands there twice."""
    lines = sent.split(b"\r\n")
    one, other = chosen.randrange(len(lines)), chosen.randrange(len(lines))
    if chosen.random() < 0.5:
        lines[one], lines[other] = lines[other], lines[one]
    else:
        lines.insert(one, lines[other])
    return b"\r\n".join(lines)
