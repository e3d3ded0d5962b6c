"""A caller's trace goes on to the model server and into the log, where it is one; otherwise nothing does."""

import pytest

from neuronetz_gateway.observability import logging
from tests.support.factories import make_tenancy
from tests.support.fake_ollama import FakeOllama
from tests.support.gateways import LiveGateway
from tests.support.load import CHAT
from tests.support.log_capture import captured_logs

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{PARENT}-01"


async def test_a_trace_reaches_the_model_server_under_a_new_parent_that_log_and_audit_know(
    gateway: LiveGateway, ollama: FakeOllama
) -> None:
    tenancy = await make_tenancy(gateway.services)
    headers = {"traceparent": GOOD, "tracestate": "rojo=1,congo=2"}
    with captured_logs(logging) as lines:
        async with gateway.http(tenancy.key) as http:
            for _ in range(2):
                assert (await http.post("/api/chat", json=CHAT, headers=headers)).status_code == 200
            await http.get("/api/tags", headers=headers)
            await http.get("/nothing", headers=headers)
            await http.get("/api/tags", headers={**headers, "authorization": "Bearer nz_wrong"})
    assert [line["trace_id"] for line in lines] == [TRACE] * 5
    assert len(ollama.requests) == 3
    for seen, line in zip(ollama.requests, lines, strict=False):
        assert seen.header("traceparent") == f"00-{TRACE}-{line['id'].hex[16:]}-01"
        assert seen.header("tracestate") == "rojo=1,congo=2"
        assert b"\r\ntracestate: rojo=1,congo=2\r\n" in seen.raw_head
    assert len({seen.header("traceparent") for seen in ollama.requests}) == 3


@pytest.mark.promise("N4")
async def test_what_is_no_trace_is_neither_sent_nor_logged(gateway: LiveGateway, ollama: FakeOllama) -> None:
    tenancy = await make_tenancy(gateway.services)
    no_traces: list[list[tuple[str, str]]] = [
        [],
        [("tracestate", "rojo=1")],
        [("traceparent", GOOD.upper()), ("tracestate", "rojo=1")],
        [("traceparent", GOOD), ("traceparent", GOOD)],
        [("traceparent", f"ff-{TRACE}-{PARENT}-01")],
        [("x-b3-traceid", TRACE), ("baggage", "a=1")],
    ]
    with captured_logs(logging) as lines:
        async with gateway.http(tenancy.key) as http:
            for headers in no_traces:
                assert (await http.post("/api/chat", json=CHAT, headers=headers)).status_code == 200
    assert len(lines) == len(ollama.requests) == len(no_traces)
    assert not any("trace_id" in line for line in lines)
    for seen in ollama.requests:
        sent = {name.lower() for name, _ in seen.headers}
        assert sent == {"host", "accept", "accept-encoding", "user-agent", "content-type", "content-length"}
