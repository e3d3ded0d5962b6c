"""The answers of the fake Ollama that think first, or call tools, on the routes under /v1."""

import json
from typing import Any

from tests.support.fake_ollama_anthropic import Messages, _event, _usage
from tests.support.fake_ollama_asks import Ask
from tests.support.fake_ollama_formats import Usage, anthropic_stop, encode, event
from tests.support.fake_ollama_openai import ChatCompletions, openai_usage
from tests.support.fake_ollama_parts import Parts, ToolCall
from tests.support.fake_ollama_responses import Responses, _part


class ChatCompletionsInParts(ChatCompletions):
    def __init__(self, ask: Ask, parts: Parts) -> None:
        super().__init__(ask)
        self._parts = parts

    def opening(self) -> list[bytes]:
        deltas: list[dict[str, Any]] = [{"reasoning": thought} for thought in self._parts.thoughts]
        deltas += [{"tool_calls": [_openai_call(call, index)]} for index, call in enumerate(self._parts.tool_calls)]
        return [event(self._chunk([self._delta(delta)])) for delta in deltas]

    def closing(self, usage: Usage | None, reason: str) -> list[bytes]:
        return super().closing(usage, "tool_calls" if self._parts.tool_calls else reason)

    def whole(self, text: str, usage: Usage | None, reason: str) -> bytes:
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if self._parts.thoughts:
            message["reasoning"] = self._parts.thinking
        if self._parts.tool_calls:
            reason = "tool_calls"
            message["tool_calls"] = [_openai_call(call, index) for index, call in enumerate(self._parts.tool_calls)]
        body = self._envelope("chat.completion", [{"index": 0, "message": message, "finish_reason": reason}])
        return encode(body | ({} if usage is None else {"usage": openai_usage(usage)})) + b"\n"

    def _delta(self, delta: dict[str, Any]) -> dict[str, Any]:
        return {"index": 0, "delta": {"role": "assistant", "content": ""} | delta, "finish_reason": None}


class MessagesInParts(Messages):
    """A block each: the thoughts, the calls, then the text, where there is any (anthropic.go, StreamConverter)."""

    def __init__(self, ask: Ask, parts: Parts) -> None:
        super().__init__(ask)
        self._parts, self._index = parts, 0

    def opening(self) -> list[bytes]:
        records = [super().opening()[0]]
        self._block_open = False
        if self._parts.thoughts:
            deltas = [{"type": "thinking_delta", "thinking": thought} for thought in self._parts.thoughts]
            records += self._block({"type": "thinking", "thinking": ""}, deltas)
        for call in self._parts.tool_calls:
            head = {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}
            records += self._block(head, [{"type": "input_json_delta", "partial_json": _written(call)}])
        return records

    def token(self, text: str) -> bytes:
        start = b"" if self._block_open else self._start({"type": "text", "text": ""})
        self._block_open = True
        return start + self._content({"type": "text_delta", "text": text})

    def closing(self, usage: Usage | None, reason: str) -> list[bytes]:
        delta: dict[str, Any] = {"type": "message_delta", "delta": {"stop_reason": self._stop_reason(reason)}}
        if usage is not None:
            delta["usage"] = _usage(usage)
        stop = [self._stop()] if self._block_open else []
        return [*stop, _event(delta), _event({"type": "message_stop"})]

    def whole(self, text: str, usage: Usage | None, reason: str) -> bytes:
        content: list[dict[str, Any]] = []
        if self._parts.thoughts:
            content.append({"type": "thinking", "thinking": self._parts.thinking})
        if text:
            content.append({"type": "text", "text": text})
        content += [
            {"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments}
            for call in self._parts.tool_calls
        ]
        body = self._message(content) | {"stop_reason": self._stop_reason(reason)}
        return encode(body | ({} if usage is None else {"usage": _usage(usage)})) + b"\n"

    def _stop_reason(self, reason: str) -> str:
        return "tool_use" if self._parts.tool_calls else anthropic_stop(reason)

    def _block(self, head: dict[str, Any], deltas: list[dict[str, Any]]) -> list[bytes]:
        records = [self._start(head), *(self._content(delta) for delta in deltas), self._stop()]
        self._index += 1
        return records

    def _start(self, head: dict[str, Any]) -> bytes:
        return _event({"type": "content_block_start", "index": self._index, "content_block": head})

    def _content(self, delta: dict[str, Any]) -> bytes:
        return _event({"type": "content_block_delta", "index": self._index, "delta": delta})

    def _stop(self) -> bytes:
        return _event({"type": "content_block_stop", "index": self._index})


class ResponsesInParts(Responses):
    """An item each: the reasoning, the calls; the text only where nothing is called (responses.go)."""

    def __init__(self, ask: Ask, parts: Parts) -> None:
        super().__init__(ask)
        self._parts = parts
        self._done: list[dict[str, Any]] = []

    def opening(self) -> list[bytes]:
        self._done = []
        begun = {"response": self._response("in_progress", [], None)}
        records = [self._event("response.created", begun), self._event("response.in_progress", begun)]
        if self._parts.thoughts:
            records += self._reasoning()
        for number, call in enumerate(self._parts.tool_calls):
            records += self._call(call, number)
        self._place["output_index"] = len(self._done)
        if not self._parts.tool_calls:
            item = {"output_index": len(self._done), "item": self._item("in_progress", [])}
            records.append(self._event("response.output_item.added", item))
            records.append(self._event("response.content_part.added", self._place | {"part": _part("")}))
        return records

    def closing(self, usage: Usage | None, reason: str) -> list[bytes]:
        del reason
        records: list[bytes] = []
        if not self._parts.tool_calls:
            part = _part(self._text)
            item = self._item("completed", [part])
            records = [
                self._event("response.output_text.done", self._place | {"text": self._text, "logprobs": []}),
                self._event("response.content_part.done", self._place | {"part": part}),
                self._event("response.output_item.done", {"output_index": len(self._done), "item": item}),
            ]
            self._done.append(item)
        whole = self._response("completed", self._done, usage)
        return [*records, self._event("response.completed", {"response": whole})]

    def whole(self, text: str, usage: Usage | None, reason: str) -> bytes:
        del reason
        self.opening()
        output = self._done if self._parts.tool_calls else [*self._done, self._item("completed", [_part(text)])]
        return encode(self._response("completed", output, usage)) + b"\n"

    def _reasoning(self) -> list[bytes]:
        place = {"item_id": "rs_123456", "output_index": 0, "summary_index": 0}
        empty = {"id": "rs_123456", "type": "reasoning", "summary": []}
        text = self._parts.thinking
        item = empty | {"summary": [{"type": "summary_text", "text": text}], "encrypted_content": text}
        self._done.append(item)
        return [
            self._event("response.output_item.added", {"output_index": 0, "item": empty}),
            *(
                self._event("response.reasoning_summary_text.delta", place | {"delta": thought})
                for thought in self._parts.thoughts
            ),
            self._event("response.reasoning_summary_text.done", place | {"text": text}),
            self._event("response.output_item.done", {"output_index": 0, "item": item}),
        ]

    def _call(self, call: ToolCall, number: int) -> list[bytes]:
        index, written = len(self._done), _written(call)
        place = {"item_id": f"fc_123456_{number}", "output_index": index}
        item = {
            "id": place["item_id"],
            "type": "function_call",
            "status": "completed",
            "call_id": call.id,
            "name": call.name,
            "arguments": written,
        }
        self._done.append(item)
        begun = item | {"status": "in_progress", "arguments": ""}
        return [
            self._event("response.output_item.added", {"output_index": index, "item": begun}),
            self._event("response.function_call_arguments.delta", place | {"delta": written}),
            self._event("response.function_call_arguments.done", place | {"arguments": written}),
            self._event("response.output_item.done", {"output_index": index, "item": item}),
        ]


def _written(call: ToolCall) -> str:
    return json.dumps(call.arguments, ensure_ascii=False, separators=(",", ":"))


def _openai_call(call: ToolCall, index: int) -> dict[str, Any]:
    function = {"name": call.name, "arguments": _written(call)}
    return {"id": call.id, "index": index, "type": "function", "function": function}
