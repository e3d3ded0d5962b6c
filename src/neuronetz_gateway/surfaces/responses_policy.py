"""What of a Responses request is sent, left out, refused (OLLAMA §4.5)."""

from typing import Any

from neuronetz_gateway.errors import InvalidRequestError
from neuronetz_gateway.surfaces.fields import (
    DROPPED,
    Fields,
    TextOrParts,
    an_object,
    anything,
    data_url,
    dropped,
    flag,
    objects,
    positive,
    text,
    unsupported,
    wrong,
)
from neuronetz_gateway.surfaces.policed_fields import logprobs
from neuronetz_gateway.surfaces.policy import NOT_HEEDED
from neuronetz_gateway.surfaces.screening import Screening

# Those that the caller runs himself. Any other kind is run by a server, with its operator's account, over the network;
# Ollama runs none but a search (OLLAMA §1.1, §4.5).
_CALLERS_TOOLS = ("function", "custom")
_WHOLE_CONVERSATION = "nothing is kept here, so send the whole conversation as 'input'"


def _image(value: Any, path: str, screening: Screening) -> Any:
    screening.count_images(1, path)
    return data_url(value, path, screening)


_parts = objects(
    Fields(
        {
            "type": text,
            "text": text,
            "image_url": _image,
            "file_id": unsupported("no files are kept here, so send an image along as a data URL"),
        }
    )
)


_content = TextOrParts(_parts)

_items = objects(
    Fields(
        {
            "type": text,
            "role": text,
            "content": _content,
            "output": _content,
            "arguments": text,
            "name": text,
            "encrypted_content": text,
        }
    )
)


def _input(value: Any, path: str, screening: Screening) -> Any:
    if type(value) is str:
        return value
    if type(value) is not list:
        raise wrong(path, "a string or a list of items")
    items = _items(value, path, screening)
    if items and not _make_messages(items):
        raise InvalidRequestError(f"'{path}' holds no message: there is nothing to work on.", field=path)
    return items


def _make_messages(items: list[dict[str, Any]]) -> bool:
    """Whether Ollama makes a message of any item; of none it would load the model.

    Of reasoning it keeps the encrypted content alone, of several in a row that of the last.
    """
    return bool(items[-1].get("encrypted_content")) or any(item.get("type") != "reasoning" for item in items)


_typed = objects(Fields({"type": text}))


def _tools(value: Any, path: str, screening: Screening) -> Any:
    """The tools that the caller runs himself; those of the server are left out, named once however many they are."""
    tools = _typed(value, path, screening)
    kept = [tool for tool in tools if tool.get("type", "function") in _CALLERS_TOOLS]
    if len(kept) == len(tools):
        return tools
    screening.adjusted.append(path)
    return kept or DROPPED


RESPONSES = Fields(
    {
        "model": text,
        "stream": flag,
        "input": _input,
        "instructions": text,
        "max_output_tokens": positive,
        "tools": _tools,
        "text": an_object(Fields({"format": anything})),  # read by the meter
        "top_logprobs": logprobs,
        "_debug_render_only": dropped,
        **NOT_HEEDED,
        "previous_response_id": unsupported(_WHOLE_CONVERSATION),
        "conversation": unsupported(_WHOLE_CONVERSATION),
        "background": unsupported("wait for the answer, which may be streamed"),
        "prompt": unsupported("nothing is kept here, so send the prompt's text as 'instructions' or 'input'"),
    }
)
