"""What of a request is sent, changed, left out, refused: one table an endpoint (OLLAMA §4.5)."""

from typing import Any

from neuronetz_gateway.surfaces import policed_fields
from neuronetz_gateway.surfaces.fields import (
    Fields,
    Rule,
    TextOrParts,
    an_object,
    anything,
    at_most,
    data_url,
    dropped,
    flag,
    objects,
    one_alone,
    positive,
    text,
    text_or_texts,
    whole,
)
from neuronetz_gateway.surfaces.screening import Screening

# llama.cpp's sampler sets aside four bytes for each token that it is to look back on (llama_sampler_init_penalties).
LOOK_BACK_TOKENS_AT_MOST = 8192

# They choose how a model is loaded: a reload for everybody, memory for one (OLLAMA §4.5, sched.go:1381).
_RUNNER_OPTIONS = (
    "num_batch",
    "num_gpu",
    "main_gpu",
    "use_mmap",
    "use_mlock",
    "num_thread",
    "draft_num_predict",
    "low_vram",
    "numa",
    "num_keep",
    "f16_kv",
    "vocab_only",
    "logits_all",
    "embedding_only",
    "rope_frequency_base",
    "rope_frequency_scale",
)

# A Go map: its names count in their exact spelling alone, so that another spelling is without effect.
_OPTIONS = an_object(
    Fields(
        {
            **dict.fromkeys(_RUNNER_OPTIONS, dropped),
            "num_ctx": policed_fields.num_ctx,
            "num_predict": whole,
            "repeat_last_n": at_most(LOOK_BACK_TOKENS_AT_MOST),
        },
        folds=False,
    )
)

_EVERYWHERE: dict[str, Rule] = {"model": text, "stream": flag}

_NATIVE: dict[str, Rule] = {
    **_EVERYWHERE,
    "options": _OPTIONS,
    "keep_alive": policed_fields.keep_alive,
    "shift": dropped,  # an attribute of the load: toggling it reloads the model
    "runner": dropped,  # newer versions: which program loads the model, another one reloads it
}

_NATIVE_GENERATION: dict[str, Rule] = {
    **_NATIVE,
    "format": anything,  # read by the meter
    "template": dropped,  # its loops run in the server, beyond cancelling
    "_debug_render_only": dropped,  # shows the model's hidden system prompt, without usage
    "logprobs": policed_fields.logprobs,
    "top_logprobs": policed_fields.logprobs,
}

NATIVE_GENERATE = Fields(
    {
        **_NATIVE_GENERATION,
        "prompt": text,
        "images": policed_fields.images,
        "raw": policed_fields.raw,
        "context": policed_fields.context,
    }
)

# Read by the prompt bound: the name of a tool may stand before each of its results.
_CALLS = objects(Fields({"function": an_object(Fields({"name": text}))}))

_NATIVE_MESSAGE = Fields(
    {
        "role": text,
        "content": text,
        "images": policed_fields.images,
        "tool_calls": _CALLS,
    }
)

NATIVE_CHAT = Fields({**_NATIVE_GENERATION, "messages": objects(_NATIVE_MESSAGE), "tools": anything})

NATIVE_EMBED = Fields({**_NATIVE, "input": text_or_texts})

NATIVE_EMBEDDINGS = Fields({**_NATIVE, "prompt": text})

# Native alone: /v1 ignores them today (OLLAMA §4.5), so leaving them out costs nobody anything.
NOT_HEEDED: dict[str, Rule] = {"options": dropped, "keep_alive": dropped}

_OPENAI: dict[str, Rule] = {**_EVERYWHERE, **NOT_HEEDED}

_OPENAI_GENERATION: dict[str, Rule] = {
    **_OPENAI,
    "n": one_alone,
    "stream_options": an_object(Fields({"include_usage": flag})),
    "response_format": anything,  # read by the meter
    "max_tokens": positive,
    "max_completion_tokens": positive,
    "_debug_render_only": dropped,
    "logprobs": policed_fields.logprobs,
    "top_logprobs": policed_fields.logprobs,
}

_ADDRESS = an_object(Fields({"url": data_url}, folds=False))


def _image(value: Any, path: str, screening: Screening) -> Any:
    screening.count_images(1, path)
    return data_url(value, path, screening) if type(value) is str else _ADDRESS(value, path, screening)


_SOUND = an_object(Fields({"data": text}, folds=False))


def _sound(value: Any, path: str, screening: Screening) -> Any:
    """Counted as an image, since Ollama makes one of it, whatever it is (openai.go, FromChatRequest)."""
    screening.count_images(1, path)
    return _SOUND(value, path, screening)


# Go decodes a part into a map, whose names count in their exact spelling.
_CONTENT = TextOrParts(objects(Fields({"image_url": _image, "input_audio": _sound}, folds=False)))

_OPENAI_MESSAGE = Fields(
    {
        "role": text,
        "content": _CONTENT,
        "tool_calls": _CALLS,
    }
)

OPENAI_CHAT = Fields(
    {
        **_OPENAI_GENERATION,
        "messages": objects(_OPENAI_MESSAGE),
        "tools": anything,
    }
)

OPENAI_COMPLETIONS = Fields(
    {
        **_OPENAI,
        "n": one_alone,
        "best_of": one_alone,
        "prompt": text,
        "suffix": text,
        "stream_options": an_object(Fields({"include_usage": flag})),
        "max_tokens": positive,
        "_debug_render_only": dropped,
        "logprobs": policed_fields.logprobs,
        "top_logprobs": policed_fields.logprobs,
    }
)

OPENAI_EMBEDDINGS = Fields({**_OPENAI, "input": text_or_texts})
