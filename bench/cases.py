"""The loads that are put on the targets."""

import json
import random
from dataclasses import dataclass
from enum import StrEnum

MODEL = "bench:latest"
# {prompt} becomes a JSON string with its quotes, {stream} true or false, {tokens} how many may come.
OLLAMA_BODY = (
    f'{{"model":"{MODEL}","messages":[{{"role":"user","content":{{prompt}}}}],"stream":{{stream}},'
    '"options":{"num_predict":{tokens}}}'
)
MANY_TENANTS = 1_000
PACED_RATE, PACED_SECONDS = 20, 5
BURST_RECORDS = 200
LARGE_BYTES = 100_000
_LEAST_TOKENS = 16
_WORDS = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heath", "inlet", "jetty", "knoll", "ledge")


class Keys(StrEnum):
    """Whose keys the requests bring; all but a target's own are made for the gateway alone."""

    OWN = "own"
    MANY = "many"  # one key each of MANY_TENANTS tenants, in turn
    SPENT = "spent"  # a key of one request a minute, which it has had
    UNKNOWN = "unknown"  # well-formed, another one each time, never issued


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    group: str
    connections: int
    prompt: str = "Say something short, please."
    stream: bool = False
    paced: bool = False
    records: int = 1  # of an answer: what the costs are divided by
    status: int = 200  # of every answer; any other counts as failed
    keys: Keys = Keys.OWN

    def body(self, template: str) -> str:
        """A target's template filled in."""
        tokens = str(max(_LEAST_TOKENS, self.records))
        filled = template.replace("{stream}", str(self.stream).lower()).replace("{tokens}", tokens)
        return filled.replace("{prompt}", json.dumps(self.prompt))

    @property
    def unit(self) -> str:
        return "record" if self.stream else "answer"

    @property
    def of_workers(self) -> bool:
        """Whether the case compares the gateway with itself on several workers."""
        return self.group == "workers"


def _paced(streams: int) -> Case:
    records = PACED_RATE * PACED_SECONDS
    return Case(f"paced-{streams}", "paced", streams, f"#paced {records} {PACED_RATE}#", True, True, records)


def _prose(size: int) -> str:
    """The same words in every run, without a number sign, which would tell the upstream to stream."""
    chosen = random.Random(size)
    text = ""
    while len(text) < size:
        text += " ".join(chosen.choices(_WORDS, k=100)) + ". "
    return text[:size]


CASES = (
    *(Case(f"small-{count}", "small", count) for count in (1, 8, 64, 256)),
    Case("tenants-64", "tenants", 64, keys=Keys.MANY),
    *(Case(f"large-{count}", "large", count, _prose(LARGE_BYTES)) for count in (16, 64)),
    Case("burst-64", "burst", 64, f"#burst {BURST_RECORDS}#", stream=True, records=BURST_RECORDS),
    *(_paced(count) for count in (500, 2_000)),
    Case("refused-429", "refused", 64, status=429, keys=Keys.SPENT),
    Case("refused-401", "refused", 64, status=401, keys=Keys.UNKNOWN),
    Case("workers-64", "workers", 64),
)


def chosen(names: list[str]) -> list[Case]:
    """The cases of these names or groups, all for none of them; raises ValueError for one that is not there."""
    known = {case.name for case in CASES} | {case.group for case in CASES}
    if unknown := set(names) - known:
        raise ValueError(f"no case {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
    return [case for case in CASES if not names or case.name in names or case.group in names]
