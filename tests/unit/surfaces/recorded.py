"""Streams and bodies as Ollama writes them (OLLAMA §3, §7)."""

_NATIVE = '{"model":"smollm2:latest","created_at":"2026-08-21T12:00:00.123456789Z",'
_END = (
    '"total_duration":120000000,"load_duration":20000000,"prompt_eval_count":11,'
    '"prompt_eval_duration":10000000,"eval_count":%d,"eval_duration":90000000}'
)


def _lines(*records: str) -> bytes:
    return "".join(record + "\n" for record in records).encode()


def native_chat(message: str, end: str = '"done":false}') -> str:
    return _NATIVE + '"message":{"role":"assistant",' + message + "}," + end


def native_generate(text: str, end: str = '"done":false}') -> str:
    return _NATIVE + f'"response":"{text}",' + end


DONE = '"done":true,"done_reason":"stop",' + _END
TOOL_CALL = (
    '"content":"","tool_calls":[{"function":{"name":"set","arguments":{"done":true,"eval_count":9999,"error":"no"}}}]'
)

CHAT_NDJSON = _lines(
    native_chat('"content":"","thinking":"hm \\"done\\":true"'),
    native_chat('"content":" grün 日本 {\\"done\\":true,\\"error\\":1}"'),
    native_chat('"content":" \\\\"'),
    native_chat(TOOL_CALL),
    native_chat('"content":"x"', '"done":false,"logprobs":[{"token":"x","logprob":-0.1}]}'),
    native_chat('"content":""', DONE % 6),
)
CHAT_NDJSON_RECORDS = 5

GENERATE_NDJSON = _lines(
    native_generate(" one"),
    native_generate(" two"),
    native_generate("", '"done":true,"done_reason":"stop","context":[' + "1,2," * 900 + "3]," + _END % 2),
)

BROKEN_NDJSON = _lines(native_chat('"content":" one"'), '{"error":"llama runner process has terminated: \\"killed\\""}')
LOAD_NDJSON = _lines(native_chat('"content":""', '"done":true,"done_reason":"load"}'))
SPACED_NDJSON = _lines(
    '{"model": "m", "message": {"content": " a"}, "done": false}',
    '{"model": "m", "message": {"content": ""}, "done": true, "prompt_eval_count": 3, "eval_count": 4}',
)

_SSE = '{"id":"chatcmpl-12","object":"chat.completion.chunk","created":1787313600,"model":"%s","system_fingerprint":'


def sse(payload: str) -> bytes:
    return f"data: {payload}\n\n".encode()


def openai_chunk(delta: str, finish: str = "null", model: str = "smollm2:latest") -> bytes:
    choice = '{"index":0,"delta":{"role":"assistant",' + delta + '},"finish_reason":' + finish + "}"
    return sse(_SSE % model + '"fp_ollama","choices":[' + choice + "]}")


USAGE_RECORD = sse(
    _SSE % "smollm2:latest"
    + '"fp_ollama","choices":[],"usage":{"prompt_tokens":11,"completion_tokens":6,"total_tokens":17}}'
)
DONE_RECORD = b"data: [DONE]\n\n"
OPENAI_TOOL_CALL = (
    '"content":"","tool_calls":[{"id":"call_1","index":0,"type":"function","function":{"name":"f","arguments":'
    '"{\\"usage\\":{\\"prompt_tokens\\":0},\\"choices\\":[]}"}}]'
)
_OPENAI_CONTENT = (
    openai_chunk('"content":"","reasoning":"hm"')
    + openai_chunk('"content":" grün \\"choices\\":[] \\"usage\\":{} 日本"')
    + openai_chunk('"content":"\\""')
    + openai_chunk('"content":" data: [DONE]\\n\\n"')
    + openai_chunk(OPENAI_TOOL_CALL)
)
OPENAI_RECORDS = 5
OPENAI_FINISH = openai_chunk('"content":""', '"stop"')
OPENAI_SSE = _OPENAI_CONTENT + OPENAI_FINISH + USAGE_RECORD + DONE_RECORD
OPENAI_SSE_WITHOUT_USAGE = _OPENAI_CONTENT + OPENAI_FINISH + DONE_RECORD
OPENAI_LOST_ERROR = openai_chunk('"content":" a"') + openai_chunk('"content":""', model="")


def completion_chunk(text: str, usage: str, choices: str | None = None) -> bytes:
    choice = f'[{{"text":"{text}","index":0,"finish_reason":null}}]' if choices is None else choices
    return sse(
        '{"id":"cmpl-1","object":"text_completion","created":1,"choices":'
        + choice
        + ',"model":"m","system_fingerprint":"fp_ollama"'
        + usage
        + "}"
    )


ZERO_USAGE = ',"usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}'
TRUE_USAGE = ',"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}'
_TEXTS = (' a \\"usage\\":{}', " b")
COMPLETIONS_SSE = (
    b"".join(completion_chunk(text, ZERO_USAGE) for text in _TEXTS)
    + completion_chunk("", TRUE_USAGE, choices="[]")
    + DONE_RECORD
)
COMPLETIONS_SSE_WITHOUT_USAGE = b"".join(completion_chunk(text, "") for text in _TEXTS) + DONE_RECORD
