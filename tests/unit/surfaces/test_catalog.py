"""What is in the table exists; what is the operator's is blocked in every spelling."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuronetz_gateway.surfaces.anthropic import ANTHROPIC
from neuronetz_gateway.surfaces.catalog import ENDPOINTS, is_blocked, methods_of, nearest, surface_of
from neuronetz_gateway.surfaces.ollama import OLLAMA
from neuronetz_gateway.surfaces.openai import OPENAI
from neuronetz_gateway.surfaces.responses import RESPONSES

BLOCKED = [
    "/api/pull",
    "/api/push",
    "/api/create",
    "/api/copy",
    "/api/delete",
    "/api/blobs/sha256:abc",
    "/api/me",
    "/api/signout",
    "/api/user/keys/abc",
    "/api/experimental/web_search",
    "/api/experimental/aliases",
    "/api/status",
    "/api/codex/x/_status",
    "/api/usage",
    "/api/balance",
    "/debug/pprof/heap",
]
SPELLINGS = [
    "{}/",
    "{}//",
    "/{}",
    "{}?x=1",
    "{};x=1",
    "{}%00",
    "{}%20",
    "{}%2f",
    "{}%3bx",
    "/.{}",
    "/v1/..{}",
    "/v1/%2e%2e{}",
    "/../..{}",
    "/api/tags/../..{}",
    "/x;y/..{}",
]


@pytest.mark.promise("N2")
@pytest.mark.parametrize("path", BLOCKED)
def test_a_route_of_the_operator_is_blocked_in_every_spelling(path: str) -> None:
    slash = path.rindex("/", 0, 6) if path.startswith("/api") else 0
    variants = [
        path,
        path.upper(),
        path.replace("/", "//"),
        path.replace("/", "\\"),
        path[:1] + path[1:].replace("/", "%2F"),
        path[:1] + path[1:].replace("/", "%5c"),
        "/" + "".join(f"%{ord(c):02X}" if c != "/" else c for c in path[1:]),
        "".join(f"%{ord(c):02x}" for c in path),
        path[: slash + 1] + "./" + path[slash + 1 :],
        path[: slash + 1] + "%2e/" + path[slash + 1 :],
        path.replace("a", "A", 1),
        *(spelling.format(path) for spelling in SPELLINGS),
    ]
    for variant in variants:
        assert is_blocked(variant.encode()), variant


@pytest.mark.promise("N2")
@pytest.mark.parametrize(
    "path",
    [
        *(endpoint.path for endpoint in ENDPOINTS),
        "/",
        "",
        "*",
        "/api",
        "/api/pulls",
        "/api/message",
        "/api/show",
        "/api/ps",
        "/api/user",
        "/api/%2570ull",
        "/v1/systemone",
        "/v1/audio/speech",
        "/pull",
        "/v1/api/pull",
        "/healthz",
        "/debugger",
        "/api/tags?x=/api/pull",
        "/\xff%ff%zz",
    ],
)
def test_what_is_not_the_operators_is_not_blocked(path: str) -> None:
    assert not is_blocked(path.encode("latin-1"))


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_no_path_breaks_the_block(path: bytes) -> None:
    assert is_blocked(path) in {True, False}
    assert is_blocked(b"/api/pull/" + path.replace(b".", b"")) is True


def test_the_table_holds_each_method_and_path_once_and_literally() -> None:
    assert len({(endpoint.method, endpoint.path) for endpoint in ENDPOINTS}) == len(ENDPOINTS)
    for endpoint in ENDPOINTS:
        assert endpoint.path.startswith(endpoint.surface.prefix)
        assert not set(endpoint.path.removesuffix("/{model}")) & set("{}*%?#;. ")
        assert not set(endpoint.upstream_path) & set("{}*%?#;. ")
        assert (endpoint.method == "POST") is (endpoint.inference is not None or endpoint.asks is not None)
        assert not is_blocked(endpoint.path.encode())


@pytest.mark.parametrize(
    ("path", "surface"),
    [
        ("/api/chat", OLLAMA),
        ("/v1/models", OPENAI),
        ("/v1/unknown", OPENAI),
        ("/v1", OPENAI),
        ("/v1x", OLLAMA),
        ("/v1/messages", ANTHROPIC),
        ("/v1/messages/", ANTHROPIC),
        ("/v1/messages/count_tokens", ANTHROPIC),
        ("/v1/messagesx", OPENAI),
        ("/api/unknown", OLLAMA),
        ("/", OLLAMA),
        ("", OLLAMA),
    ],
)
def test_an_unknown_path_is_answered_in_the_protocol_of_its_prefix(path: str, surface: object) -> None:
    assert surface_of(path) is surface


@pytest.mark.parametrize(
    ("path", "meant", "surface"),
    [
        ("/chat/completions", "/v1/chat/completions", OPENAI),
        ("/v1/v1/chat/completions", "/v1/chat/completions", OPENAI),
        ("/api/chat/completions", "/v1/chat/completions", OPENAI),
        ("/v1/chat/completions/", "/v1/chat/completions", OPENAI),
        ("/completions", "/v1/completions", OPENAI),
        ("/responses", "/v1/responses", RESPONSES.surface),
        ("/messages", "/v1/messages", ANTHROPIC),
        ("/v1/v1/messages", "/v1/messages", ANTHROPIC),
        ("/v1/api/chat", "/api/chat", OLLAMA),
        ("/api/api/tags", "/api/tags", OLLAMA),
    ],
)
def test_a_base_url_with_a_part_too_few_or_too_many_is_told_what_was_meant(
    path: str, meant: str, surface: object
) -> None:
    """With a base URL that lacks its /v1, openai-python 3 said "Error code: 404", without a word of the reason."""
    assert nearest(path) == meant
    assert surface_of(path) is surface


@pytest.mark.parametrize(
    "path", ["", "/", "/nope", "/xchat", "/v1/images/generations", "/v1/messages/count_tokens", "/v1/models/a/chat"]
)
def test_what_is_like_no_path_of_the_table_is_taken_for_none(path: str) -> None:
    assert nearest(path) is None


def test_the_methods_of_a_path_are_those_of_the_table() -> None:
    assert methods_of("/api/chat") == ("POST",)
    assert methods_of("/v1/models") == ("GET",)
    assert methods_of("/api/pull") == ()
