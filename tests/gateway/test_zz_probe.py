"""Probes."""
import asyncio, json, io
from urllib.parse import urlsplit
import httpx, pytest
from tests.support.factories import make_tenancy
from tests.support.fake_ollama import FakeOllama, Fault, Script
from tests.support.gateways import LiveGateway, live_gateway
from tests.support.load import CHAT
from tests.support.raw_http import send_raw
from tests.support.stores import Stores
from tests.gateway.test_budgeting import settled

async def rows(stores, tenancy):
    await settled(stores, tenancy)
    return [dict(r) for r in await stores.fetch("select outcome,status,charged_tokens,estimated,address,reason from audit_log where tenant_id=$1 order by 1", tenancy.tenant.id)]

async def raw(gateway, data, *, n=65536, timeout=3, half=False):
    p = urlsplit(gateway.base_url)
    r, w = await asyncio.open_connection(p.hostname, p.port)
    out = b""
    try:
        async with asyncio.timeout(timeout):
            w.write(data); await w.drain()
            while True:
                c = await r.read(n)
                if not c: out += b"<EOF>"; break
                out += c
    except TimeoutError: out += b"<OPEN>"
    except ConnectionResetError: out += b"<RST>"
    finally: w.close()
    return out

def post(path, key, body, extra=b"", close=True):
    return (f"POST {path} HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {key}\r\n".encode() + extra + (b"Connection: close\r\n" if close else b"")
        + b"Content-Length: %d\r\n\r\n" % len(body) + body)

@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions"])
@pytest.mark.parametrize("fault", [Fault.SILENT_END, Fault.ERROR_RECORD])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("after", [0, 3])
async def test_ends(gateway: LiveGateway, stores, ollama: FakeOllama, path, fault, stream, after):
    ollama.script = Script(tokens=6, fault=fault, fault_after_records=after)
    t = await make_tenancy(gateway.services)
    body = json.dumps({**CHAT, "stream": stream}).encode()
    out = await raw(gateway, post(path, t.key, body, close=False))
    print("\n##", path, fault, stream, after, out[:200], b"...", out[-160:], await rows(stores, t))

async def test_raw_upstreams(stores: Stores):
    answers = {
      "empty200": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
      "err200": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{\"error\":\"boom\"}"[:-1],
      "204": b"HTTP/1.1 204 No Content\r\n\r\n",
      "304": b"HTTP/1.1 304 Not Modified\r\n\r\n",
      "302": b"HTTP/1.1 302 Found\r\nLocation: http://x/\r\nContent-Length: 0\r\n\r\n",
      "101": b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
      "100s": b"HTTP/1.1 100 Continue\r\n\r\n" * 50 + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
      "gzip": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
      "hugehead": b"HTTP/1.1 200 OK\r\nX: " + b"a" * 200000 + b"\r\n\r\n",
      "999": b"HTTP/1.1 999 X\r\nContent-Length: 0\r\n\r\n",
      "600": b"HTTP/1.1 600 X\r\nContent-Length: 2\r\n\r\n{}",
      "500": b"HTTP/1.1 500 X\r\nContent-Length: 2\r\n\r\n{}",
      "201": b"HTTP/1.1 201 X\r\nContent-Length: 2\r\n\r\n{}",
      "400list": b"HTTP/1.1 400 X\r\nContent-Length: 2\r\n\r\n[]",
      "404short": b"HTTP/1.1 404 X\r\nContent-Length: 20\r\n\r\n[]",
    }
    current = b""
    async def serve(r, w):
        await r.readuntil(b"\r\n\r\n")
        w.write(current); await w.drain(); await asyncio.sleep(0.05); w.close()
    srv = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = srv.sockets[0].getsockname()[1]
    async with live_gateway(stores, f"http://127.0.0.1:{port}") as gw:
        for name, a in answers.items():
            current = a
            for path, stream in (("/api/chat", True), ("/api/chat", False), ("/v1/chat/completions", True), ("TAGS", False), ("VERSION", False)):
                t = await make_tenancy(gw.services)
                if path.isupper():
                    req = f"GET /api/{path.lower()} HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {t.key}\r\n\r\n".encode()
                else:
                    req = post(path, t.key, json.dumps({**CHAT, "stream": stream}).encode(), close=False)
                out = await raw(gw, req, timeout=0.7)
                print("\n##", name, path, stream, out[:60], out[-130:], await rows(stores, t), gw.services.limiter.open_admissions)
        # listing garbage
    srv.close()
