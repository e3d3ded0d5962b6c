"""The answers of the fast fake Ollama, as they are on the wire."""

MODEL = b"bench:latest"
_CREATED = b'"created_at":"2026-08-21T12:00:00.123456789Z"'
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"


def _reply(body: bytes, content_type: bytes = b"application/json; charset=utf-8") -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n"
    return head % (content_type, len(body)) + body


def _line(content: bytes, end: bytes) -> bytes:
    message = b'"message":{"role":"assistant","content":"%b"}' % content
    return b'{"model":"%b",%b,%b,%b}' % (MODEL, _CREATED, message, end)


def _end(tokens: int) -> bytes:
    counts = b'"prompt_eval_count":12,"prompt_eval_duration":10000000,"eval_count":%d,"eval_duration":90000000'
    return b'"done":true,"done_reason":"stop","total_duration":120000000,"load_duration":20000000,' + counts % tokens


def _chunk(line: bytes) -> bytes:
    return b"%x\r\n%b\n\r\n" % (len(line) + 1, line)


SMALL = _reply(_line(b"Eight small words are quite enough for this.", _end(8)))
TAGS = _reply(
    b'{"models":[{"name":"%b","model":"%b","modified_at":"2026-08-21T12:00:00Z","size":1,"digest":"%b","details":{}}]}'
    % (MODEL, MODEL, b"0" * 64)
)
OTHERS = {
    b"/api/tags": TAGS,
    b"/api/version": _reply(b'{"version":"0.33.0"}'),
    b"/api/show": _reply(
        b'{"template":"{{ .Prompt }}","system":"","details":{},"capabilities":["completion"],'
        b'"model_info":{"general.architecture":"llama","llama.context_length":131072}}'
    ),
    b"/": _reply(b"Ollama is running", b"text/plain"),
}


# of one length whatever the time is, so that the size of the chunk holds
PACED = _chunk(_line(b" @%020d@" % 0, b'"done":false')).replace(b"%", b"%%").replace(b"0" * 20, b"%020d")


def burst(records: int) -> bytes:
    """A whole stream of so many tokens, as it is on the wire."""
    return STREAM_HEAD + _chunk(_line(b" amber", b'"done":false')) * records + end_of_stream(records)


def end_of_stream(tokens: int) -> bytes:
    """The last record with what ends the body."""
    return _chunk(_line(b"", _end(tokens))) + LAST_CHUNK
