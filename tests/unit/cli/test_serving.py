"""Where a gateway listens, where it says that it is reached."""

import socket

import pytest

from neuronetz_gateway.cli.serving import address_of, base_url, listen
from neuronetz_gateway.errors import ConflictError


@pytest.mark.parametrize(
    ("host", "reached"),
    [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("localhost", "localhost")],  # noqa: S104 - a choice to test
)
def test_the_base_url_is_one_to_connect_to(host: str, reached: str) -> None:
    with listen(host, 0) as listener:
        port = address_of(host, listener)[1]
        assert base_url(host, listener) == f"http://{reached}:{port}"


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
def test_an_ipv6_address_stands_in_brackets() -> None:
    try:
        listener = listen("::", 0)
    except ConflictError:
        pytest.skip("this machine has no IPv6 address")
    with listener:
        assert base_url("::", listener) == f"http://[::1]:{address_of('::', listener)[1]}"


def test_a_port_that_is_taken_is_told_with_another_to_try() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConflictError, match=f"127.0.0.1:{port} cannot be listened on: .*--port {port + 1}"):
            listen("127.0.0.1", port)


def test_a_host_that_is_none_is_told() -> None:
    with pytest.raises(ConflictError, match="no address to listen on"):
        listen("256.0.0.1.invalid", 0)
