"""Streams and bodies of /v1/messages as Ollama writes them (OLLAMA §3; anthropic/anthropic.go)."""


def event(name: str, payload: str) -> bytes:
    return f"event: {name}\ndata: {payload}\n\n".encode()


def delta(inner: str, index: int = 0) -> bytes:
    payload = f'{{"type":"content_block_delta","index":{index},"delta":{{{inner}}}}}'
    return event("content_block_delta", payload)


def text(value: str, index: int = 0) -> bytes:
    return delta(f'"type":"text_delta","text":"{value}"', index)


def thinking(value: str) -> bytes:
    return delta(f'"type":"thinking_delta","thinking":"{value}"')


def start(block: str, index: int = 0) -> bytes:
    payload = f'{{"type":"content_block_start","index":{index},"content_block":{{{block}}}}}'
    return event("content_block_start", payload)


def stop(index: int = 0) -> bytes:
    return event("content_block_stop", f'{{"type":"content_block_stop","index":{index}}}')


def message_delta(usage: str = ',"usage":{"input_tokens":11,"output_tokens":6}') -> bytes:
    return event("message_delta", '{"type":"message_delta","delta":{"stop_reason":"end_turn"}' + usage + "}")


MESSAGE_START = event(
    "message_start",
    '{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"smollm2:latest",'
    '"content":[],"usage":{"input_tokens":2500,"output_tokens":0}}}',
)
MESSAGE_STOP = event("message_stop", '{"type":"message_stop"}')
TOOL_USE = (
    start('"type":"tool_use","id":"call_1","name":"set","input":{}', 2)
    + delta(
        '"type":"input_json_delta","partial_json":"{\\"type\\":\\"message_stop\\",\\"usage\\":{\\"output_tokens\\":0}}"',
        2,
    )
    + stop(2)
)
# A model that talks of its own protocol, in quotes that JSON escapes, with newlines that JSON writes out.
_TEXTS = (
    text(" grün 日本", 1)
    + text('\\n\\nevent: error\\ndata: {\\"type\\":\\"error\\"}\\n\\n', 1)
    + text('\\"}}\\n\\nevent: message_stop\\ndata: {\\"type\\":\\"message_stop\\"}', 1)
    + text("\\\\", 1)
)
MESSAGES_SSE = (
    MESSAGE_START
    + start('"type":"thinking","thinking":""')
    + thinking("hm")
    + stop()
    + start('"type":"text","text":""', 1)
    + _TEXTS
    + stop(1)
    + TOOL_USE
    + message_delta()
    + MESSAGE_STOP
)
MESSAGES_RECORDS = 6

BROKEN_SSE = MESSAGE_START + start('"type":"text","text":""') + text(" one")  # how Ollama ends one (OLLAMA §3.5)
FAILED_SSE = MESSAGE_START + event("error", '{"type":"error","error":{"type":"api_error","message":"killed"}}')
WITHOUT_USAGE_SSE = MESSAGE_START + text(" a") + message_delta(usage="") + MESSAGE_STOP
SPACED_SSE = (
    b'event:content_block_delta\ndata:{"type": "content_block_delta", "index": 0, '
    b'"delta": {"type": "text_delta", "text": " a"}}\n\n'
    b'event: message_delta\ndata: {"usage": {"output_tokens": 4, "input_tokens": 3}, "type": "message_delta"}\n\n'
    b'data: {"type": "message_stop"}\n\n'
)
PLAIN_RECORDS = (
    text(" amber"),
    thinking("hm"),
    delta('"type":"input_json_delta","partial_json":"{\\"a\\":1}"', 3),
)
WHOLE_BODY = (
    '{"id":"msg_1","type":"message","role":"assistant","model":"smollm2:latest","content":['
    '{"type":"thinking","thinking":"hm \\"usage\\":{\\"output_tokens\\":1}"},{"type":"text","text":" grün"},'
    '{"type":"tool_use","id":"call_1","name":"set","input":{"usage":{"input_tokens":0,"output_tokens":0}}}],'
    '"stop_reason":"tool_use","usage":{"input_tokens":11,"output_tokens":6}}\n'
).encode()
