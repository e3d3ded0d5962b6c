"""Target: whole readers of every endpoint see in a body what Ollama's structs would hold of it."""

from fuzz.target import Target
from tests.support.mutations import MODELS, NUMBERS, POLICED, SCALARS, Mutator, token
from tests.support.read_as_go import OPEN_RULES, RULES
from tests.support.read_as_go import check as check_body
from tests.support.valid_bodies import READING, SPEECHES

_RULES = (RULES, OPEN_RULES)


def check(data: bytes) -> None:
    """The first byte says for which endpoint, under which policy the rest is a body."""
    if data:
        check_body(READING[data[0] // 2 % len(READING)], data[1:], _RULES[data[0] % 2])


def _seeds() -> list[bytes]:
    mutator = Mutator(11)
    return [
        bytes([2 * number + permissive]) + body
        for number, endpoint in enumerate(READING)
        for permissive in range(2)
        for body in mutator.bodies(SPEECHES[endpoint.path].bodies(), 10)
    ]


TARGET = Target(
    check,
    _seeds,
    (*NUMBERS, *SCALARS, *(token(name) for name in (*POLICED, *MODELS)), b"\\u017f", "\u017f".encode(), b"\\u212a"),
)
