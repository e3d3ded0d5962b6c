"""A body is read in one way only, or refused (OLLAMA §4.2)."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from neuronetz_gateway.errors import InvalidRequestError
from neuronetz_gateway.surfaces.strict_json import check_exactly, parse
from neuronetz_gateway.surfaces.surface import JsonObject


def read(raw: bytes, max_depth: int = 64, max_nodes: int = 100_000) -> JsonObject:
    return parse(raw, max_depth=max_depth, max_nodes=max_nodes)


REFUSED = [
    (b"", "empty"),
    (b" ", "not valid JSON"),
    (b"null", "one JSON object"),
    (b"[]", "one JSON object"),
    (b'"x"', "one JSON object"),
    (b"{} {}", "not valid JSON"),
    (b"{}x", "not valid JSON"),
    (b"\xef\xbb\xbf{}", "BOM"),
    (b'{"a":NaN}', "not valid JSON"),
    (b'{"a":Infinity}', "not valid JSON"),
    (b'{"a":1e999}', "not valid JSON"),
    (b'{"a":"\xff"}', "UTF-8"),
    (b'{"a":"\\ud800"}', "surrogate"),
    (b'{"a":"\n"}', "not valid JSON"),
    (b"{'a':1}", "not valid JSON"),
    (b'{"a":1,}', "not valid JSON"),
    (b'{"a":1,"a":2}', "'a' stands twice"),
    (b'{"a":1,"\\u0061":2}', "'a' stands twice"),
    (b'{"a":{"b":[{"c":1, "c" : 2}]}}', "'c' stands twice"),
    (b'{"a\\\\":1,"a\\\\":2}', "stands twice"),
    (b'{"a\\"":1,"a\\"":2}', "stands twice"),
    (b'{"a":[[[[]]]],"a":1}', "'a' stands twice"),
    (b'{":a":1,":a":2}', "stands twice"),
    (b'{"a":9223372036854775808123}', "64 bits"),
    (b'{"a":18446744073709551616}', "64 bits"),
    (b'{"a":-9223372036854775809}', "64 bits"),
    (b'{"a":' + b"9" * 5000 + b"}", "(64 bits|not valid JSON)"),
    (b'{"x":' + b"[" * 5000 + b"]" * 5000 + b"}", "not valid JSON"),
    (b'{"x":' + b"[" * 1000 + b"]" * 1000 + b',"x":1}', "(deep|twice)"),
]


@pytest.mark.promise("N1", "N3")
@pytest.mark.parametrize(("raw", "message"), REFUSED)
def test_what_two_decoders_could_read_in_two_ways_is_refused(raw: bytes, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        read(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"{}",
        b' \r\n{"a" : 1 , "b" :\t2}\n',
        b'{"a":"\\":\\":","b":"\\\\","c":": \\" :"}',
        b'{"":{"":{"":0}}}',
        b'{"a":[{"k":1},{"k":2}],"b":{"k":3}}',
        b'{"a":9223372036854775807,"b":-9223372036854775808,"c":18446744073709551615,"d":1e30,"e":-1e300}',
        '{"a":"\\ud83d\\ude00 grün"}'.encode(),
        b'{"a":"\\u0000"}',
    ],
)
def test_what_has_one_meaning_is_read(raw: bytes) -> None:
    assert read(raw) == json.loads(raw)


@pytest.mark.promise("N5")
def test_depth_and_nodes_are_bounded_exactly() -> None:
    deep = b'{"a":' + b"[" * 9 + b"]" * 9 + b"}"
    assert read(deep, max_depth=10)
    with pytest.raises(InvalidRequestError, match="more than 9 levels"):
        read(deep, max_depth=9)
    many = b'{"a":[' + b",".join([b"1"] * 48) + b"]}"  # 48 numbers, their list, the object
    assert read(many, max_nodes=50)
    with pytest.raises(InvalidRequestError, match="more than 49 values"):
        read(many, max_nodes=49)


@pytest.mark.promise("N5", "O2")
@pytest.mark.parametrize("item", [b"1", b"[]", b"{}", b'""', b"[[]]", b"null"])
def test_a_body_of_too_many_values_is_refused_before_it_is_parsed(item: bytes) -> None:
    """The error must come before orjson sees the body, which is left without its end to show this."""
    with pytest.raises(InvalidRequestError, match="values"):
        read(b'{"a":[' + b",".join([item] * 1001), max_nodes=1000)


@pytest.mark.parametrize("unit", [b'\\",', b'",', b"\\,", b'"\\",'])
def test_a_hostile_body_that_never_closes_its_string_is_refused_in_linear_time(unit: bytes) -> None:
    """Found by reading: a pattern that failed at the end of the body began anew at each quote: hours for 3 MB."""
    with pytest.raises(InvalidRequestError):
        read(b'{"a":"' + unit * 1_000_000)


def test_commas_and_brackets_in_texts_are_no_values() -> None:
    raw = orjson.dumps({"prompt": 'one, two, [three] {"four"}, \\' * 500})
    assert read(raw, max_nodes=2)


def test_an_error_quotes_little_and_printably() -> None:
    key = "k\n" * 500
    with pytest.raises(InvalidRequestError) as caught:
        read(b"{" + orjson.dumps(key) + b":1," + orjson.dumps(key) + b":2}")
    assert len(caught.value.message) < 140
    assert "\n" not in caught.value.message


@pytest.mark.promise("A7")
def test_an_error_does_not_carry_the_body_along() -> None:
    """orjson's error keeps the whole document in `doc`, a traceback with locals would print the prompt."""
    with pytest.raises(InvalidRequestError) as caught:
        read(b'{"prompt":"the secret"')
    assert "secret" not in str(caught.value)
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


TEXT = st.text(st.sampled_from('":\\ ,[]{}a\n'), max_size=6)
VALUE: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), 1 << 64) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(TEXT, inner), max_size=3).map(tuple),
    max_leaves=12,
)
SPACE = st.sampled_from(["", "", " ", "\n\t"])


def written(value: Any, draw: st.DrawFn) -> str:
    """JSON with any white space, in which an object is a tuple of pairs, its keys as often as they come."""
    if isinstance(value, tuple):
        pairs = [f"{json.dumps(k)}{draw(SPACE)}:{draw(SPACE)}{written(v, draw)}" for k, v in value]
        return "{" + f"{draw(SPACE)},".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + f",{draw(SPACE)}".join(written(item, draw) for item in value) + "]"
    return json.dumps(value)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    return written(tuple(draw(st.lists(st.tuples(TEXT, VALUE), max_size=4))), draw).encode()


@pytest.mark.promise("N3")
@settings(deadline=None)
@given(bodies())
@example(b'{"a":": ","a":1}')
@example(b'{"\\\\":1,"\\\\":2}')
def test_the_fast_verdict_is_the_exact_one(raw: bytes) -> None:
    exact = fast = ""
    try:
        check_exactly(raw)
    except InvalidRequestError as error:
        exact = error.message
    try:
        tree = read(raw)
    except InvalidRequestError as error:
        fast = error.message
    assert fast == exact
    if not fast:
        assert tree == json.loads(raw)


@pytest.mark.promise("N3", "O2")
def test_long_keys_are_told_apart_by_all_of_their_letters() -> None:
    """The exact verdict looks at digests of what is long, since a whole copy would cost thirteen times the body."""
    stem = "k" * 3000 + "\u00e9"
    plain, escaped = json.dumps(stem, ensure_ascii=False), json.dumps(stem)
    assert plain != escaped
    doubt = '"z":"\\\\\\":"'  # what the fast verdict cannot tell
    with pytest.raises(InvalidRequestError, match=f"The key '{'k' * 60}.*' stands twice"):
        read(f"{{{doubt},{plain}:1,{escaped}:2}}".encode())
    other = json.dumps(stem + "x")
    assert read(f"{{{doubt},{plain}:1,{other}:2}}".encode()) == {"z": '\\":', stem: 1, stem + "x": 2}


def test_a_body_of_more_values_than_may_be_is_refused_wherever_they_stand() -> None:
    """What a string holds does not count; what stands behind the last string does."""
    full = b'{"a":"' + b"[,{" * 300 + b'","b":[' + b"1," * 96 + b"1]}"
    assert len(read(full, max_nodes=100)["b"]) == 97
    for more in (full.replace(b"[1,", b"[1,1,"), b'{"a":"' + b"[,{" * 300 + b'","b":[' + b"[]," * 96 + b"[],[]]}"):
        with pytest.raises(InvalidRequestError, match="more than 100 values"):
            read(more, max_nodes=100)
    twice = b"{" + b",".join(b'"%d":"x"' % n for n in range(300)) + b"}"
    with pytest.raises(InvalidRequestError, match="more than 100 values"):
        read(twice, max_nodes=100)
