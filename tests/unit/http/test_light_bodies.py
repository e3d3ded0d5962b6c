"""Which bodies are parsed on the event loop."""

import pytest

from neuronetz_gateway.http.middleware.reading import _is_light


@pytest.mark.parametrize(
    ("body", "light"),
    [
        (b'{"prompt":"x"}', True),
        (b'{"prompt":"' + b"x" * 60_000 + b'"}', True),
        (b"{},{}," * 600, True),
        (b"x" * 65_537, False),
        (b'{"a":[' + b"{}," * 20_000 + b"{}]}", False),
        (b'{"a":[' + b"[]," * 20_000 + b"[]]}", False),
        (b'{"a":[' + b"1," * 30_000 + b"1]}", False),
        (b'{"messages":[' + b",".join([b'{"role":"user","content":"' + b"word " * 20 + b'"}'] * 400) + b"]}", True),
    ],
)
def test_what_takes_long_is_not_parsed_on_the_event_loop(body: bytes, light: bool) -> None:
    """Only the size told: 64 KiB of `{},` held the loop for 10 to 37 ms, so that one key with fifty such requests a
    second, refused and thus free of charge, kept a worker from everybody else."""
    assert _is_light(body) is light
