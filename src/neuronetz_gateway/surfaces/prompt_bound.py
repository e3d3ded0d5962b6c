"""How many tokens a prompt can have at most, told without a tokenizer (DESIGN §5)."""

import binascii
from collections.abc import Iterable
from typing import Any

import orjson

from neuronetz_gateway.domain.model_facts import ModelFacts
from neuronetz_gateway.surfaces.surface import JsonObject, RequestRules

TOKENS_AROUND_A_MESSAGE = 16

# Ollama decodes each tool, each call of one, then writes it out with all the names of its own form, even where the
# caller gave none: {"type":"","function":{"name":"","description":"","parameters":{"type":"","properties":null}}}
BYTES_AROUND_A_TOOL = 100

# Ollama writes tools into the prompt as Go writes JSON, where these take six characters, a float up to 21.
_LONGER_IN_GO = (b"<", b">", b"&", b"\\b", b"\\f", b"\xe2\x80\xa8", b"\xe2\x80\xa9")
_EXPONENTS_IN_JSON = (b"0e0", b"0e+0", b"0e-0")  # once all digits are 0, all letters E small
_TO_ONE_EXPONENT = bytes.maketrans(b"123456789E", b"000000000e")
_MORE_IN_GO, _MORE_IN_A_FLOAT = 5, 21

# Programs and templates write them in other forms still: each property in elements of its own, whose tags are a dozen
# tokens (renderers/qwen3coder.go), each value on an indented line of its own (tojson(indent=4) of Llama 3.1).
_TOKENS_AROUND = ((b"{", 16), (b'":', 6), (b",", 2))

_PLACES = {"image_url": "url", "input_audio": "data"}  # of an image in a part, by its type
_SIGNATURE_CHARACTERS = 16  # of base64: the first 12 bytes
_HEADER_CHARACTERS = 100  # a data URL's own, such as data:image/png;base64,
_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"BM")


def of_inputs(body: JsonObject, _: RequestRules, facts: ModelFacts) -> int:
    """The bound of the texts to embed, which no template surrounds: none is more than its context holds."""
    inputs = body["input"]
    return sum(within(facts, _of_input(text)) for text in (inputs if type(inputs) is list else (inputs,)))


def of_embedded_prompt(body: JsonObject, _: RequestRules, facts: ModelFacts) -> int:
    """As of_inputs, of the one text of /api/embeddings."""
    return within(facts, _of_input(body["prompt"]))


def of_prompt(body: JsonObject, rules: RequestRules, facts: ModelFacts) -> int:
    images = of_images(body.get("images", ()), rules)
    return within(facts, of_texts(body, 1, facts) + images + of_tools([body.get("tools")]))


def of_messages(body: JsonObject, rules: RequestRules, facts: ModelFacts) -> int:
    messages = body["messages"]
    images = [image for message in messages if "images" in message for image in message["images"]]
    texts = of_texts(body, len(messages), facts) + _names_again(messages)
    return within(facts, texts + of_images(images, rules) + of_tools(_tools(body)))


def of_messages_in_parts(body: JsonObject, rules: RequestRules, facts: ModelFacts) -> int:
    """As of_messages, where content may be a list of parts, each of which Ollama makes a message of the same role."""
    messages = body["messages"]
    count, roles = len(messages), 0
    images: list[str] = []
    for message in messages:
        content = message.get("content")
        if type(content) is list:
            count += len(content)
            roles += len(content) * _size(message.get("role", ""))
            images.extend(source for part in content if (source := _image_source(part)) is not None)
    texts = of_texts(body, count, facts) + roles + _names_again(messages)
    return within(facts, texts + of_images(images, rules) + of_tools(_tools(body)))


def within(facts: ModelFacts, bound: int) -> int:
    """No prompt is longer than the model's context, which Ollama cuts it down to."""
    return bound if facts.context_tokens is None else min(bound, facts.context_tokens)


def of_texts(body: JsonObject, messages: int, facts: ModelFacts) -> int:
    """A token covers at least one byte of the body that is sent."""
    return len(orjson.dumps(body)) + TOKENS_AROUND_A_MESSAGE * messages + facts.template_tokens


def of_names(names: Iterable[str], results: int) -> int:
    """What results add, each of which may stand there with the name of the tool again (renderers/gemma4.go)."""
    return results * max(map(_size, names), default=0)


def _size(text: str) -> int:
    return len(text.encode())


def _of_input(text: str) -> int:
    return len(orjson.dumps(text)) + TOKENS_AROUND_A_MESSAGE


def of_images(images: Iterable[str], rules: RequestRules) -> int:
    """What images count instead of their bytes, which the body's length holds already."""
    return sum(rules.image_tokens - (len(image) if _is_image(image) else 0) for image in images)


def _tools(body: JsonObject) -> list[Any]:
    return [body.get("tools"), *(message["tool_calls"] for message in body["messages"] if "tool_calls" in message)]


def of_tools(tools: list[Any]) -> int:
    """By how much lists of tools, of calls of them, may grow on their way into the prompt.

    Whatever is counted here is counted by bytes.count, which takes a hundredth of the time, nor any of the memory, of a
    regular expression that finds fifteen million signs: others wait as long, since it cannot be interrupted.
    """
    if not any(tools):
        return 0
    written = orjson.dumps(tools)
    signs = sum(map(written.count, _LONGER_IN_GO))
    around = sum(tokens * written.count(sign) for sign, tokens in _TOKENS_AROUND)
    floats = sum(map(written.translate(_TO_ONE_EXPONENT).count, _EXPONENTS_IN_JSON))
    listed = sum(len(each) for each in tools if type(each) is list)
    return _MORE_IN_GO * signs + _MORE_IN_A_FLOAT * floats + BYTES_AROUND_A_TOOL * listed + around


def _names_again(messages: list[JsonObject]) -> int:
    calls = [call for message in messages if "tool_calls" in message for call in message["tool_calls"]]
    if not calls:
        return 0
    names = (call["function"].get("name", "") for call in calls if "function" in call)
    return of_names(names, sum(message.get("role", "").lower() == "tool" for message in messages))


def _image_source(part: Any) -> str | None:
    """What Ollama puts among the images of a message: whatever stands as sound as well (openai.go, FromChatRequest)."""
    kind = part.get("type") if type(part) is dict else None
    if type(kind) is not str or kind not in _PLACES:
        return None
    source = part.get(kind)
    if type(source) is dict:
        source = source.get(_PLACES[kind])
    return source if type(source) is str else None


def _is_image(source: str) -> bool:
    """Whether base64, or a data URL of it, begins as a picture does.

    Anything else in its place, sound for example, has more tokens the longer it is: its bytes count as well.
    """
    start = source.find(",", 0, _HEADER_CHARACTERS) + 1 if source.startswith("data:") else 0
    try:
        head = binascii.a2b_base64(source[start : start + _SIGNATURE_CHARACTERS])
    except ValueError:
        return False
    return head.startswith(_SIGNATURES) or (head.startswith(b"RIFF") and head.endswith(b"WEBP"))
