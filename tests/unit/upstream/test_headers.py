"""Which header fields cross the hop."""

import httpx
import pytest

from neuronetz_gateway.upstream.headers import is_encoded, request_headers, response_headers


def test_the_fields_that_go_up_are_ours() -> None:
    fields = dict(request_headers(with_body=True))
    assert fields.pop(b"User-Agent").startswith(b"neuronetz-gateway/")
    assert fields == {b"Content-Type": b"application/json", b"Accept": b"*/*", b"Accept-Encoding": b"identity"}
    assert b"Content-Type" not in dict(request_headers(with_body=False))


def test_only_the_fields_of_the_list_come_back() -> None:
    response = httpx.Response(
        200,
        headers=[
            (b"Content-Type", b"application/x-ndjson"),
            (b"Content-Length", b"2"),
            (b"Content-Encoding", b"identity"),
            (b"Connection", b"keep-alive"),
            (b"Set-Cookie", b"a=b"),
            (b"Server", b"ollama"),
            (b"X-Anything", b"1"),
        ],
    )
    assert response_headers(response) == [(b"content-type", b"application/x-ndjson"), (b"content-length", b"2")]


@pytest.mark.parametrize(("coding", "encoded"), [("gzip", True), ("identity", False), (" Identity ", False)])
def test_an_encoded_body_is_known(coding: str, encoded: bool) -> None:
    response = httpx.Response(200, headers={"Content-Encoding": coding}, stream=httpx.ByteStream(b""))
    assert is_encoded(response) is encoded
