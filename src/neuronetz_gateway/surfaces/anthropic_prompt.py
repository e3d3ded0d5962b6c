"""What of a request to /v1/messages reaches the prompt, how many tokens that can be at most."""

from collections.abc import Iterator
from typing import Any

from neuronetz_gateway.domain.model_facts import ModelFacts
from neuronetz_gateway.errors import InvalidRequestError
from neuronetz_gateway.surfaces.prompt_bound import of_images, of_names, of_texts, of_tools, within
from neuronetz_gateway.surfaces.surface import JsonObject, RequestRules

# Blocks that give the model something to go on even where they are empty (convertMessage).
_SPEAKING = frozenset({"image", "tool_use", "tool_result", "server_tool_use", "web_search_tool_result"})


def of_messages_in_blocks(body: JsonObject, rules: RequestRules, facts: ModelFacts) -> int:
    """The bound of the prompt in tokens (DESIGN §5): each block counts as a message, which some of them become."""
    blocks = list(_blocks(body))
    inner = [each for block in blocks for each in _dicts(block.get("content"))]
    images = [data for block in (*blocks, *inner) if (data := _image_data(block)) is not None]
    written = [body.get("tools"), *(value for block in blocks for value in _written_as_json(block))]
    messages = 1 + len(body["messages"]) + len(blocks) + len(inner)
    results = sum("tool_use_id" in block for block in blocks)
    texts = of_texts(body, messages, facts) + of_names((block.get("name", "") for block in blocks), results)
    return within(facts, texts + of_images(images, rules) + of_tools(written))


def check_says_something(body: JsonObject) -> None:
    """Refuses messages of which Ollama makes none at all: it would then load the model instead (OLLAMA §1.1).

    Raises InvalidRequestError: a message has no content, or all of them together with the system prompt are empty.
    """
    for index, message in enumerate(body["messages"]):
        if "content" not in message:
            field = f"messages[{index}].content"
            raise InvalidRequestError(f"'{field}' is missing: write a string or a list of content blocks.", field=field)
    system = body.get("system")
    if not (_any_text(system) or any(_speaks(message["content"]) for message in body["messages"])):
        raise InvalidRequestError("'messages' says nothing: there is nothing to work on.", field="messages")


def _blocks(body: JsonObject) -> Iterator[JsonObject]:
    for message in body["messages"]:
        yield from _dicts(message.get("content"))


def _dicts(content: Any) -> list[JsonObject]:
    return [block for block in content if type(block) is dict] if type(content) is list else []


def _image_data(block: JsonObject) -> str | None:
    source = block.get("source")
    if block.get("type") != "image" or type(source) is not dict:
        return None
    data = source.get("data")
    return data if type(data) is str else None


def _written_as_json(block: JsonObject) -> Iterator[Any]:
    """What of a block goes into the prompt as Go writes JSON."""
    if "input" in block:
        yield block["input"]
    if type(block.get("content")) is dict:
        yield block["content"]


def _speaks(content: Any) -> bool:
    return _any_text(content) or any(block.get("type") in _SPEAKING for block in _dicts(content))


def _any_text(content: Any) -> bool:
    if type(content) is str:
        return bool(content)
    return any(_is_text(block) for block in _dicts(content))


def _is_text(block: JsonObject) -> bool:
    text = block.get("text")
    return block.get("type") == "text" and type(text) is str and bool(text)
