"""The oracle of Go's decoder says what was seen of Go's decoder (OLLAMA §4.2)."""

import pytest

from tests.support.go_json import GoError, GoRead, fold, go, tree_of
from tests.support.go_scanner import DEEPEST, Number, unquoted


def chat(body: str | bytes) -> GoRead:
    return go("/api/chat", body if isinstance(body, bytes) else body.encode())


def test_the_last_duplicate_wins_in_any_spelling() -> None:
    assert chat('{"model":"a","model":"b"}').model == "b"
    assert chat('{"model":"a","MODEL":"b"}').model == "b"
    assert chat('{"Model":"a","model":"b"}').model == "b"
    assert chat('{"\\u006dodel":"a"}').model == "a"
    assert chat('{"model":"a","messages":[1],"messages":[2]}').fields["messages"] == [2.0]


def test_duplicate_options_are_merged_by_their_exact_names() -> None:
    read = chat('{"options":{"num_predict":5,"seed":1},"Option\u017f":{"seed":2,"Num_Predict":9}}')
    assert read.fields["options"] == {"num_predict": 5.0, "seed": 2.0, "Num_Predict": 9.0}
    assert read.cap("options.num_predict") == 5


def test_letters_that_fold_are_taken() -> None:
    assert "keep_alive" in chat('{"\u212aeep_alive":-1}').fields
    assert "keep_alive" in chat('{"\\u212aEEP_ALIVE":-1}').fields
    assert not chat('{"mod\u00c9l":"x","models":"x"}').fields


def test_null_leaves_a_value_but_empties_a_pointer() -> None:
    assert chat('{"model":"a","model":null}').model == "a"
    assert chat('{"stream":false,"stream":null}').streams(by_default=True)
    assert go("/v1/chat/completions", b'{"stream":true,"stream":null}').streams(by_default=False)
    assert chat("null").model == ""


@pytest.mark.parametrize("tail", ["{}", " garbage", "\x00", "]", '{"model":"b"}'])
def test_what_stands_behind_the_first_value_is_ignored(tail: str) -> None:
    assert chat('{"model":"a"}' + tail).model == "a"


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b'"x"', b"5", b'\xef\xbb\xbf{"model":"a"}', b'{"model":"a",}', b"{'model':'a'}", b'{"x":NaN}',
        b'{"x":01}', b'{"x":+1}', b'{"x":.5}', b'{"x":1.}', b'{"x":"\n"}', b'{"x":"\\x41"}', b'{"model":"a"',
        b'\x0b{"model":"a"}', '{"model":"a"}'.encode("utf-16"), b'{"x":' + b"[" * 20_000,
    ],
)  # fmt: skip
def test_what_go_refuses(body: bytes) -> None:
    with pytest.raises(GoError):
        chat(body)


def test_broken_text_is_replaced() -> None:
    assert chat(b'{"model":"a\xff"}').model == "a\ufffd"
    assert chat('{"model":"\\ud800x"}').model == "\ufffdx"
    assert chat('{"model":"\\ud83d\\ude00"}').model == "\U0001f600"


@pytest.mark.parametrize(
    "body",
    ['{"stream":"false"}', '{"stream":0}', '{"model":5}', '{"options":[]}', '{"messages":{}}', '{"options":"x"}'],
)
def test_a_wrong_type_is_noted_by_its_field(body: str) -> None:
    assert list(chat(body).wrong) == [body[2:].partition('"')[0]]


@pytest.mark.parametrize(
    ("number", "cap"),
    [("5", 5), ("-1", -1), ("1e3", None), ("5.0", None), ("9223372036854775807", (1 << 63) - 1), ("1e99", None)],
)
def test_an_integer_has_neither_fraction_nor_exponent(number: str, cap: int | None) -> None:
    read = go("/v1/chat/completions", b'{"max_tokens":%s}' % number.encode())
    assert read.cap("max_tokens") == cap
    assert bool(read.wrong) is (cap is None)


@pytest.mark.parametrize(("number", "cap"), [("5", 5), ("1e3", 1000), ("1.9", 1), ("-1", -1), ("null", None)])
def test_an_option_is_a_float_that_is_cut(number: str, cap: int | None) -> None:
    assert chat(b'{"options":{"num_predict":%s}}' % number.encode()).cap("options.num_predict") == cap


def test_ten_thousand_levels_are_read_but_not_one_more() -> None:
    for opened, closed in ((b"[", b"]"), (b'{"a":', b"}")):
        assert tree_of(opened * DEEPEST + b"1" + closed * DEEPEST)
        with pytest.raises(GoError, match="depth"):
            tree_of(opened * (DEEPEST + 1) + b"1" + closed * (DEEPEST + 1))


def test_each_byte_that_is_no_rune_is_replaced_by_itself() -> None:
    assert unquoted(b"a\xf0\x9f\x98b") == "a\ufffd\ufffd\ufffdb"
    assert unquoted(b"\xed\xa0\x80") == "\ufffd\ufffd\ufffd"
    assert unquoted(b"\\ud800\\ud83d\\ude00\\udc00x") == "\ufffd\U0001f600\ufffdx"
    assert unquoted(b"\\\\u0041\\/\\b") == "\\u0041/\b"


def test_only_two_letters_outside_ascii_fold_to_one_of_it() -> None:
    meeting = [chr(code) for code in range(0x80, 0x110000) if fold(chr(code)).isascii()]
    assert meeting == ["\u017f", "\u212a"]


def test_the_tree_is_in_the_order_of_the_document() -> None:
    tree = tree_of(b'{"b":[1,{"c":[]},"x"],"a":{},"b":null} rest')
    assert [name for name, _ in tree] == ["b", "a", "b"]
    first, second, third = tree[0][1]
    assert isinstance(first, Number)
    assert first.text == "1"
    assert (second, third) == ([("c", [])], "x")
