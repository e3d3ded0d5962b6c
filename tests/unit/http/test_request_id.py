"""A caller may name a request, if the name is plain, short and no secret."""

from uuid import UUID

import pytest
from starlette.types import Scope

from neuronetz_gateway.http.request_id import id_of, name_request

NEW = UUID(int=7)


def named(given: bytes | None) -> str:
    headers = [] if given is None else [(b"x-request-id", given)]
    return name_request({"type": "http", "headers": headers}, lambda: NEW)


@pytest.mark.parametrize("given", [b"a", b"r-1.2_3", b"nz_short", b"x" * 64])
def test_a_plain_name_is_kept(given: bytes) -> None:
    assert named(given) == given.decode()


@pytest.mark.promise("A7")
@pytest.mark.parametrize("given", [None, b"", b"x" * 65, b"a b", b"a\x1b", "\u00fc".encode()])
def test_any_other_gives_way_to_one_of_ours(given: bytes | None) -> None:
    assert named(given) == NEW.hex


@pytest.mark.promise("A7")
def test_a_key_is_no_name() -> None:
    """Sent as X-Request-ID by a program that mixed its headers up, a key stood in log, audit and answer."""
    key = b"nz_A1b2C3d4E" + b"s" * 32
    assert named(key) == named(b"x-" + key) == NEW.hex


@pytest.mark.parametrize("given", [None, b"theirs"])
def test_the_row_in_the_audit_log_is_called_as_the_request_unless_its_caller_named_it(given: bytes | None) -> None:
    scope: Scope = {"type": "http", "headers": [] if given is None else [(b"x-request-id", given)]}
    request_id = name_request(scope, lambda: NEW)
    assert id_of(scope) == NEW
    assert request_id == ("theirs" if given else NEW.hex)
