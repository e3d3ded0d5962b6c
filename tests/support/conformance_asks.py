"""What every SDK asks in the tests of conformance, with what the model server answers."""

from typing import Any

from pydantic import BaseModel

from tests.support.fake_ollama_parts import ToolCall
from tests.support.fake_ollama_script import Fault, Script

BAD_KEY = "nz_" + "x" * 41
MODEL = "fakea"
MESSAGES: list[Any] = [{"role": "user", "content": "Say hello."}]

CALL = ToolCall("weather", {"city": "Köln", "days": 3, "more": {"list": [1, 2.5, None, True], "signs": '<&> "\\ 日本'}})
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
}
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "weather", "description": "How the weather will be.", "parameters": SCHEMA},
}
CALLS = Script(tokens=0, tool_calls=(CALL,))

THOUGHTS = ("First ", "this, ", "then that.")
THINKING = "".join(THOUGHTS)
THINKS = Script(tokens=4, words=(" so", " it", " is"), thoughts=THOUGHTS)
ANSWER = " so it is so"

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
PICTURE = f"data:image/png;base64,{PNG}"

DIES = Script(tokens=20, fault=Fault.RESET, fault_after_records=5)


class City(BaseModel):
    """What structured output is asked for, with what comes of it."""

    name: str
    people: int


COLOGNE = City(name="Köln", people=1_087_000)
DESCRIBES = Script(tokens=3, words=('{"name":', ' "Köln",', ' "people": 1087000}'))
