"""What is counted, with labels that cannot grow."""

import os
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from neuronetz_gateway.observability.tally import Tally
from neuronetz_gateway.observability.vitals import Vitals

_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


TOO_MANY_CONNECTIONS = "too_many_connections"
# There from the start, with 0: of what was never seen before Prometheus cannot tell that it has grown to 1.
WATCHED_EVENTS = (
    "abandoned",
    "argon2_disagrees_with_digest",
    "checkpoint_failed",
    "checkpoint_sink_contradicts",
    "checkpoint_sink_failed",
    "declared_dead",
    "forged_cache_entry",
    "key_cache_unavailable",
    "model_facts_failed",
    "overview_failed",
    "partitions_failed",
    "prompt_over_bound",
    "prompt_purge_failed",
    "rates_rebuilt",
    "refusal_lost",
    "reservation_in_doubt",
    "retention_failed",
    "settlement_lost",
    "usage_failed",
)


class Metrics:
    """Label values come from the endpoint table, the outcomes and the codes of errors: all finite (PROMISES P2).

    With several workers the values live in files of PROMETHEUS_MULTIPROC_DIR, so that one scrape shows all.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "neuronetz_requests",
            "Requests by endpoint, status and outcome.",
            ["endpoint", "status", "outcome"],
            registry=self._registry,
        )
        self._refusals = Counter("neuronetz_refusals", "Refusals by reason.", ["reason"], registry=self._registry)
        self._tokens = Counter("neuronetz_tokens", "Tokens charged.", ["kind"], registry=self._registry)
        self._estimated = Counter("neuronetz_estimated_charges", "Charges estimated.", registry=self._registry)
        self._duration = Histogram(
            "neuronetz_request_seconds",
            "From the first byte in to the last byte out.",
            ["endpoint"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._first_byte = Histogram(
            "neuronetz_first_byte_seconds",
            "Until the model server's head arrived.",
            ["endpoint"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._in_flight = Gauge(
            "neuronetz_in_flight", "Requests under way.", multiprocess_mode="livesum", registry=self._registry
        )
        self._events = Counter("neuronetz_events", "Noteworthy events.", ["event"], registry=self._registry)
        for event in WATCHED_EVENTS:
            self._events.labels(event)
        self._refusals.labels(TOO_MANY_CONNECTIONS)
        self.vitals = Vitals(self._registry)
        self._prompt, self._output = self._tokens.labels("prompt"), self._tokens.labels("output")
        # What every request brings is added up here; `flush` hands it over.
        self._under_way = self._prompt_tokens = self._output_tokens = self._estimates = 0
        self._ended: dict[tuple[str, int, str], int] = {}
        self._durations: dict[str, Tally] = {}
        self._first_bytes: dict[str, Tally] = {}

    def opened(self) -> None:
        self._under_way += 1

    def closed(self, endpoint: str, status: int, outcome: str, seconds: float) -> None:
        """One request is over; endpoint is a row of the table or 'other'."""
        self._under_way -= 1
        key = (endpoint, status, outcome)
        self._ended[key] = self._ended.get(key, 0) + 1
        tally = self._durations.get(endpoint)
        if tally is None:
            tally = self._durations[endpoint] = Tally(self._duration.labels(endpoint), _SECONDS)
        tally.observe(seconds)

    def refused(self, reason: str) -> None:
        self._refusals.labels(reason).inc()

    def charged(self, prompt_tokens: int, output_tokens: int, *, estimated: bool) -> None:
        self._prompt_tokens += prompt_tokens
        self._output_tokens += output_tokens
        self._estimates += estimated

    def answered(self, endpoint: str, seconds: float) -> None:
        tally = self._first_bytes.get(endpoint)
        if tally is None:
            tally = self._first_bytes[endpoint] = Tally(self._first_byte.labels(endpoint), _SECONDS)
        tally.observe(seconds)

    def flush(self) -> None:
        """Hand what requests have come to since the last time over to where a scrape finds it.

        To be called often where there are several workers: a scrape of one reads what the others have handed over.
        """
        self._in_flight.set(self._under_way)
        ended, self._ended = self._ended, {}
        for (endpoint, status, outcome), count in ended.items():
            self._requests.labels(endpoint, str(status), outcome).inc(count)
        for tally in (*self._durations.values(), *self._first_bytes.values()):
            tally.hand_over()
        self._prompt.inc(self._prompt_tokens)
        self._output.inc(self._output_tokens)
        self._estimated.inc(self._estimates)
        self._prompt_tokens = self._output_tokens = self._estimates = 0

    def happened(self, event: str, times: int = 1) -> None:
        """Count an event by a name that the code gives: forged_cache_entry, settlement_dropped, ..."""
        self._events.labels(event).inc(times)

    def register(self, collectors: Iterable[Collector]) -> None:
        for collector in collectors:
            self._registry.register(collector)

    def exposition(self) -> bytes:
        self.flush()
        if _VARIABLE not in os.environ:
            return generate_latest(self._registry)
        merged = CollectorRegistry()
        MultiProcessCollector(merged)  # type: ignore[no-untyped-call]  # prometheus-client leaves it untyped
        return generate_latest(merged)


def forget_process(pid: int) -> None:
    """Takes the gauges of a worker that was killed out of the sum; what it had counted stays counted."""
    if _VARIABLE in os.environ:
        mark_process_dead(pid)  # type: ignore[no-untyped-call]  # prometheus-client leaves it untyped
