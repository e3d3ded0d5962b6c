"""How many tokens a prompt can have at most, told without a tokenizer (DESIGN §5)."""

import binascii
from collections.abc import Iterable
from typing import Any

import orjson

from neuronetz_gateway.surfaces.surface import JsonObject, RequestRules

TOKENS_AROUND_A_MESSAGE = 16

_SIGNATURE_CHARACTERS = 16  # of base64: the first 12 bytes
_HEADER_CHARACTERS = 100  # a data URL's own, such as data:image/png;base64,
_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"BM")


def conversation(body: JsonObject, messages: int, images: Iterable[str], rules: RequestRules) -> int:
    """The bound of a conversation: a token covers at least one byte of the body, images apart."""
    tokens = len(orjson.dumps(body)) + TOKENS_AROUND_A_MESSAGE * messages + rules.template_tokens
    for image in images:
        tokens += rules.image_tokens - (len(image) if _is_image(image) else 0)
    return tokens


def of_inputs(body: JsonObject, _: RequestRules) -> int:
    """The bound of the texts to embed, which no template surrounds."""
    inputs = body["input"]
    return len(orjson.dumps(inputs)) + TOKENS_AROUND_A_MESSAGE * (len(inputs) if type(inputs) is list else 1)


def of_prompt(body: JsonObject, rules: RequestRules) -> int:
    return conversation(body, 1, body.get("images", ()), rules)


def of_messages(body: JsonObject, rules: RequestRules) -> int:
    messages = body["messages"]
    images = [image for message in messages for image in message.get("images", ())]
    return conversation(body, len(messages), images, rules)


def of_messages_in_parts(body: JsonObject, rules: RequestRules) -> int:
    """As of_messages, where content may be a list of parts, each of which Ollama makes a message (openai.go)."""
    messages = len(body["messages"])
    images: list[str] = []
    for message in body["messages"]:
        content = message.get("content")
        if type(content) is list:
            messages += len(content)
            images.extend(source for part in content if (source := _image_source(part)) is not None)
    return conversation(body, messages, images, rules)


def _image_source(part: Any) -> str | None:
    if type(part) is not dict or part.get("type") != "image_url":
        return None
    source = part.get("image_url")
    if type(source) is dict:
        source = source.get("url")
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
