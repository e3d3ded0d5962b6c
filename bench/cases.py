"""The loads that are put on every target."""

import json
from dataclasses import dataclass

MODEL = "bench:latest"
PACED_STREAMS, PACED_RATE, PACED_SECONDS = 200, 20, 5
BURST_STREAMS, BURST_RECORDS = 64, 200


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    group: str
    prompt: str
    connections: int
    stream: bool = False
    paced: bool = False
    records_per_answer: int = 1  # what the costs are divided by

    @property
    def body(self) -> str:
        value = {
            "model": MODEL,
            "messages": [{"role": "user", "content": self.prompt}],
            "stream": self.stream,
            "options": {"num_predict": max(16, self.records_per_answer)},
        }
        return json.dumps(value, separators=(",", ":"))


_PACED_RECORDS = PACED_RATE * PACED_SECONDS
CASES = (
    *(Case(f"small c={count}", "small", "Say something short, please.", count) for count in (1, 8, 64)),
    Case("paced", "paced", f"#paced {_PACED_RECORDS} {PACED_RATE}#", PACED_STREAMS, True, True, _PACED_RECORDS),
    Case("burst", "burst", f"#burst {BURST_RECORDS}#", BURST_STREAMS, True, False, BURST_RECORDS),
)
