"""What of a request to /v1/messages is sent, left out, refused (OLLAMA §4.5; Ollama anthropic/anthropic.go)."""

from typing import Any

from neuronetz_gateway.surfaces.fields import (
    DROPPED,
    Fields,
    Rule,
    an_object,
    anything,
    flag,
    objects,
    positive,
    text,
    unsupported,
    wrong,
)
from neuronetz_gateway.surfaces.policy import NOT_HEEDED
from neuronetz_gateway.surfaces.screening import Screening
from neuronetz_gateway.surfaces.surface import JsonObject

# Tools that the server itself would run, with the operator's account, over the network (OLLAMA §1.1, §4.5).
_SERVER_TOOLS = ("web_search", "web_fetch", "code_execution", "tool_search", "mcp_toolset")

# Ollama passes over them without a word: the answer would be that of a model which never saw them.
_UNSEEN_BLOCKS = frozenset({"document", "search_result", "container_upload"})

_TOOL = Fields({"type": text, "name": text, "description": text, "input_schema": anything})
_admitted_tools = objects(_TOOL)


def _tools(value: Any, path: str, screening: Screening) -> Any:
    """The tools that the caller runs himself; those of the server are left out, named once however many they are."""
    tools = _admitted_tools(value, path, screening)
    kept = [tool for tool in tools if not tool.get("type", "").startswith(_SERVER_TOOLS)]
    if len(kept) == len(tools):
        return tools
    screening.adjusted.append(path)
    return kept or DROPPED


def _base64(value: Any, path: str, _: Screening) -> Any:
    """An image is sent along: Ollama refuses every other source, and no later one shall fetch what a caller names."""
    if value == "base64":
        return value
    raise wrong(path, "base64: images are sent along, not fetched from an address")


_SOURCE = {"type": _base64, "data": text, "media_type": text, "url": text}


def _blocks(fields: Fields, image: Fields) -> Rule:
    """A string, or a list of blocks, each by its fields; what `image` says holds for images alone."""

    def admit(block: JsonObject, path: str, screening: Screening) -> JsonObject:
        admitted = fields.admit(block, screening, path)
        kind = admitted.get("type")
        if type(kind) is str and kind in _UNSEEN_BLOCKS:
            raise wrong(path + "type", f"one that the model server reads, which '{kind}' is not: send it as text")
        if admitted.get("type") != "image":
            return admitted
        screening.count_images(1, path.removesuffix("."))
        return image.admit(admitted, screening, path)

    def rule(value: Any, path: str, screening: Screening) -> Any:
        if type(value) is str:
            return value
        if type(value) is not list:
            raise wrong(path, "a string or a list of content blocks")
        for index, block in enumerate(value):
            if type(block) is not dict:
                raise wrong(f"{path}[{index}]", "an object")
        return [admit(block, f"{path}[{index}].", screening) for index, block in enumerate(value)]

    return rule


# Go decodes what stands in a tool result, as the system prompt, into maps, whose names count in their exact spelling.
_IN_A_MAP = Fields({}, folds=False)
_IMAGE_IN_A_MAP = Fields({"source": an_object(Fields(_SOURCE, folds=False))}, folds=False)
_IMAGE = Fields({"source": an_object(Fields(_SOURCE))})
_texts_in_maps = _blocks(_IN_A_MAP, _IN_A_MAP)
_blocks_in_maps = _blocks(_IN_A_MAP, _IMAGE_IN_A_MAP)


def _result(value: Any, path: str, screening: Screening) -> Any:
    """What a tool gave; an object is the error of a search (web_search_tool_result)."""
    return value if type(value) is dict else _blocks_in_maps(value, path, screening)


_BLOCK = Fields(
    {
        **dict.fromkeys(("type", "text", "thinking", "signature", "id", "name", "tool_use_id"), text),
        **dict.fromkeys(("source", "input", "is_error", "citations"), anything),
        "content": _result,
    }
)

_MESSAGE = Fields({"role": text, "content": _blocks(_BLOCK, _IMAGE)})

MESSAGES = Fields(
    {
        "model": text,
        "stream": flag,
        "max_tokens": positive,
        "messages": objects(_MESSAGE),
        "system": _texts_in_maps,
        "tools": _tools,
        # Read by Ollama alone: known by name, so that there is one spelling of each.
        **dict.fromkeys(("tool_choice", "thinking", "stop_sequences", "metadata"), anything),
        "output_config": an_object(Fields({"format": unsupported("ask for the format in a message")})),
        "mcp_servers": unsupported("no tool is run by the model server; send the tools themselves"),
        **NOT_HEEDED,
        **dict.fromkeys(("temperature", "top_p", "top_k"), anything),
    }
)
