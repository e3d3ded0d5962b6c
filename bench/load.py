"""What is asked of a target, by a process of its own."""

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Load:
    """Each of `connections` asks again as soon as it has its answer, for `seconds`."""

    url: str
    headers: dict[str, str]
    body: str
    connections: int
    seconds: float
    status: int = 200  # of every answer, any other one counts as failed; 0 takes all
    keys: Sequence[str] = ()  # presented in turn, in place of what the headers say
    stamped: bool = False  # the records carry the times of their sending; with `once` alone
    once: bool = False  # one answer each, begun over one second
    most: int = 0  # answers in all; 0 for any number
    interval_seconds: float = 0.0  # from one request of a connection to its next
    core: int | None = None  # where to run

    def requests(self) -> Iterator[bytes]:
        """What goes over the wire, without end."""
        bearers = [{"Authorization": f"Bearer {key}"} for key in self.keys] or [{}]
        return itertools.cycle([self._request(bearer) for bearer in bearers])

    def _request(self, bearer: dict[str, str]) -> bytes:
        parts = urlsplit(self.url)
        headers = {"Host": parts.netloc, "Content-Type": "application/json"} | self.headers | bearer
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        payload = self.body.encode()
        return f"POST {parts.path or '/'} HTTP/1.1\r\n{lines}Content-Length: {len(payload)}\r\n\r\n".encode() + payload


def put(load: Load) -> dict[str, Any]:
    """What came of it: answers, failed, records, seconds, percentiles in ms; raises CalledProcessError."""
    command = [sys.executable, "-m", "bench.loader"]
    told = subprocess.run(command, input=json.dumps(asdict(load)), stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(told.stdout)
    return result
