"""Hostile header fields: their form, `Host`, `Expect`, what proxies believe, what names another method or path."""

from tests.hostile.raw_requests import BODY, KEY, Hostile, elsewhere, get, head, refused, served, sized

_FIELD = "RFC 9112 §5.1: a name of token letters, a colon at once"
_VALUE = "RFC 9110 §5.5: CR, LF, NUL and other control letters are no part of a value"
_FOLD = "RFC 9112 §5.2: a folded line may be refused, since others read it as a field of its own"
_BARE = "RFC 9112 §2.2: a bare LF or CR ends no line here, though others may think so"
_HOST = "RFC 9112 §3.2: one valid `Host`, else 400"
_SIZE = "a head has 64 KiB and 100 fields"
_OTHER = "the field has another name; no name is ever folded into another"
_NAMED = "`Connection` takes nothing away: what it names is read as ever, by one reader alone"
_UNTRUSTED = "the peer is no proxy of ours: what it says of itself is not believed, and goes no further"
_OVERRIDE = "method and path stand in the request line alone"

FORM = (
    refused("a space before the colon", get(b"X-A : b"), _FIELD),
    refused("a tab before the colon", get(b"X-A\t: b"), _FIELD),
    refused("a space before the colon of the credential", head(b"GET /api/tags HTTP/1.1", b"Authorization : Bearer x"),
            _FIELD),
    refused("a name of no letters", get(b": b"), _FIELD),
    refused("a line without a colon", get(b"X-A"), _FIELD),
    refused("a space within a name", get(b"X A: b"), _FIELD),
    refused("a parenthesis in a name", get(b"X(A): b"), _FIELD),
    refused("a name of bytes past ASCII", get(b"X-\xc3\xa4: b"), _FIELD),
    refused("a NUL in a name", get(b"X\x00A: b"), _FIELD),
    refused("a NUL in a value", get(b"X-A: a\x00b"), _VALUE),
    refused("a bell in a value", get(b"X-A: a\x07b"), _VALUE),
    refused("DEL in a value", get(b"X-A: a\x7fb"), _VALUE),
    refused("an escape of a terminal in a value", get(b"User-Agent: \x1b[2J"), _VALUE),
    refused("a space before the first field", get().replace(b"\r\nHost", b"\r\n Host", 1), "RFC 9112 §2.2"),
    refused("a folded line", get(b"X-A: a\r\n b"), _FOLD),
    refused("a line folded by a tab", get(b"X-A: a\r\n\tb"), _FOLD),
    refused("a folded credential", get(b"X-A: b\r\n Authorization: Bearer " + KEY), _FOLD),
    refused("a folded line of spaces alone", get(b"X-A: a\r\n  "), _FOLD),
    refused("a bare LF between two fields", get(b"X-A: a\nX-B: b"), _BARE),
    refused("a bare CR between two fields", get(b"X-A: a\rX-B: b"), _BARE),
    refused("a bare LF at the end of the head", get()[:-2] + b"\n", _BARE),
    refused("two bare LF at the end of the head", get()[:-4] + b"\n\n", _BARE),
    refused("CR CR LF between two fields", get(b"X-A: a\r\r\nX-B: b"), _BARE),
    served("bytes past ASCII in a value", get(b"X-A: \xc3\xa4\xff"), "RFC 9110 §5.5: opaque; it stays behind",
           "/api/tags"),
    served("an empty value", get(b"X-A:"), "RFC 9110 §5.5", "/api/tags"),
    served("100 fields", get(*[b"X-%d: a" % number for number in range(98)]), _SIZE, "/api/tags"),
    refused("101 fields", get(*[b"X-%d: a" % number for number in range(99)]), _SIZE, 431),
    refused("16,000 fields", get(*[b"X: a"] * 16_000), _SIZE, 431),
    refused("a value of 70,000 bytes", get(b"X-A: " + b"a" * 70_000), _SIZE, 431),
    refused("a name of 70,000 bytes", get(b"a" * 70_000 + b": b"), _SIZE, 431),
)  # fmt: skip

_TAGS = b"GET /api/tags HTTP/1.1"
HOSTS = (
    refused("no Host", get(host=False), _HOST),
    refused("two Hosts", get(b"Host: evil.example"), _HOST),
    refused("two equal Hosts", get(b"Host: gateway"), _HOST),
    refused("two Hosts in HTTP/1.0", head(b"GET /api/tags HTTP/1.0", b"Host: evil.example"), _HOST),
    refused("two Hosts in two cases", get(b"hOST: gateway"), _HOST),
    refused("an empty Host", get(b"Host:", host=False), _HOST),
    refused("a Host with a space", get(b"Host: gateway evil.example", host=False), _HOST),
    refused("a list of Hosts", get(b"Host: gateway, evil.example", host=False), _HOST),
    refused("a Host with a path", get(b"Host: gateway/api/pull", host=False), _HOST),
    refused("a Host with a scheme", get(b"Host: http://gateway", host=False), _HOST),
    refused("a Host with a name before it", get(b"Host: gateway@evil.example", host=False), _HOST),
    refused("a Host with a query", get(b"Host: gateway?a", host=False), _HOST),
    refused("a Host with a fragment", get(b"Host: gateway#a", host=False), _HOST),
    refused("a Host with a backslash", get(b"Host: gateway\\evil", host=False), _HOST),
    refused("a Host with a port of letters", get(b"Host: gateway:http", host=False), _HOST),
    refused("a Host with a port of six figures", get(b"Host: gateway:800000", host=False), _HOST),
    refused("a Host with a negative port", get(b"Host: gateway:-1", host=False), _HOST),
    refused("a Host of bytes past ASCII", get(b"Host: g\xc3\xa4teway", host=False), _HOST),
    refused("a Host with quotes", get(b'Host: "gateway"', host=False), _HOST),
    refused("a Host with half a bracket", get(b"Host: [::1", host=False), _HOST),
    refused("a Host of 300 letters", get(b"Host: " + b"a" * 300, host=False), _HOST),
    served("a Host of another name", get(b"Host: evil.example", host=False),
           "nothing is decided by it; the model server gets a `Host` of the gateway's own", "/api/tags"),
    served("a Host that is an address of IPv6", get(b"Host: [::1]:8080", host=False), "RFC 3986 §3.2.2", "/api/tags"),
    served("a Host in capitals with spaces around", get(b"HOST: \t GATEWAY \t", host=False), "RFC 9112 §5.1",
           "/api/tags"),
)  # fmt: skip

EXPECTATIONS = (
    served("Expect: 100-continue", sized(b"Expect: 100-continue"), "RFC 9110 §10.1.1: told to go on, then answered",
           "/api/chat"),
    served("Expect: 100-Continue, in capitals", sized(b"Expect: 100-Continue"), "RFC 9110 §10.1.1: not case-sensitive",
           "/api/chat"),
    refused("another expectation", sized(b"Expect: 200-ok"), "RFC 9110 §10.1.1: 417", 417),
    refused("an empty expectation", sized(b"Expect:"), "RFC 9110 §10.1.1: 417", 417),
    refused("two expectations in one", sized(b"Expect: 100-continue, x"), "RFC 9110 §10.1.1: 417", 417),
    refused("two expectations, one known", sized(b"Expect: 100-continue", b"Expect: x"), "RFC 9110 §10.1.1: 417", 417),
    served("an expectation in HTTP/1.0",
           head(b"POST /api/chat HTTP/1.0", b"Expect: 100-continue", b"Content-Length: %d" % len(BODY)) + BODY,
           "RFC 9110 §10.1.1: to be ignored there; no 100 is sent", "/api/chat", kept=False),
    elsewhere("100-continue with a wrong key",
              head(b"POST /api/chat HTTP/1.1", b"Authorization: Bearer nz_wrong", b"Expect: 100-continue",
                   b"Content-Length: 0", key=False), "nobody without a key is told to send a body", 401),
)  # fmt: skip

UPGRADES = (
    served("an upgrade to h2c", get(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMA"),
           "RFC 9110 §7.8: an upgrade may be ignored; the connection is closed then", "/api/tags", kept=False),
    served("an upgrade to websocket", get(b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13",
                                          b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
           "RFC 9110 §7.8: as above", "/api/tags", kept=False),
    elsewhere("an upgrade with a body", sized(b"Connection: Upgrade", b"Upgrade: h2c"),
              "some readers take what follows for another protocol, others for a body", 400, kept=False),
    served("an upgrade that Connection does not name", get(b"Upgrade: h2c"), "RFC 9110 §7.8: to be ignored",
           "/api/tags"),
)  # fmt: skip

NAMED = (
    served("Connection: authorization", get(b"Connection: authorization"), _NAMED, "/api/tags"),
    served("Connection: close, authorization", get(b"Connection: close, authorization"), _NAMED, "/api/tags",
           kept=False),
    served("Connection: host, content-length", sized(b"Connection: host, content-length"), _NAMED, "/api/chat"),
    served("Connection: x-forwarded-for", get(b"Connection: x-forwarded-for", b"X-Forwarded-For: 192.0.2.9"), _NAMED,
           "/api/tags"),
    served("Keep-Alive with a number beyond all numbers", get(b"Keep-Alive: timeout=" + b"9" * 400), "not read",
           "/api/tags"),
    served("Proxy-Connection, Proxy-Authorization", get(b"Proxy-Connection: close", b"Proxy-Authorization: Basic eA=="),
           "this is no proxy; the parser closes all the same", "/api/tags", kept=False),
    elsewhere("x_api_key", head(_TAGS, b"X_Api_Key: " + KEY, key=False), _OTHER, 401),
    elsewhere("authorization_", head(_TAGS, b"Authorization_: Bearer " + KEY, key=False), _OTHER, 401),
    elsewhere("HTTP_AUTHORIZATION", head(_TAGS, b"HTTP_AUTHORIZATION: Bearer " + KEY, key=False), _OTHER, 401),
    elsewhere("a key in the query", head(b"GET /api/tags?api_key=%b HTTP/1.1" % KEY, key=False),
              "a credential stands in a header alone", 401),
    elsewhere("a key in a cookie", head(_TAGS, b"Cookie: api_key=" + KEY, key=False),
              "a credential stands in `Authorization` alone", 401),
    elsewhere("two different credentials", get(b"Authorization: Bearer nz_other"), "neither is believed", 400),
    elsewhere("two credentials in one", head(_TAGS, b"Authorization: Bearer %b, Bearer nz_x" % KEY, key=False),
              "no list: it is one wrong key", 401),
    elsewhere("a credential of another scheme", head(_TAGS, b"Authorization: Basic " + KEY, key=False),
              "it says Bearer, or it is none", 401),
)  # fmt: skip

PROXIES = (
    served("X-Forwarded-For from nowhere", get(b"X-Forwarded-For: 127.0.0.1, ::1"), _UNTRUSTED, "/api/tags"),
    served("X_Forwarded_For", get(b"X_Forwarded_For: 192.0.2.9"), _OTHER, "/api/tags"),
    served("Forwarded", get(b'Forwarded: for="[::1]";host=evil.example;proto=https'), _UNTRUSTED, "/api/tags"),
    served("X-Real-IP, X-Client-IP, True-Client-IP",
           get(b"X-Real-IP: 192.0.2.9", b"X-Client-IP: 192.0.2.9", b"True-Client-IP: 192.0.2.9"), _UNTRUSTED,
           "/api/tags"),
    served("X-Forwarded-Host, -Proto, -Prefix, -Port",
           get(b"X-Forwarded-Host: evil.example", b"X-Forwarded-Proto: gopher", b"X-Forwarded-Prefix: //evil.example/",
               b"X-Forwarded-Port: 0"), _UNTRUSTED, "/api/tags"),
    served("the header of the PROXY protocol in a field", get(b"Proxy: TCP4 192.0.2.9 10.0.0.1 1 2"), _UNTRUSTED,
           "/api/tags"),
    refused("the PROXY protocol before the request", b"PROXY TCP4 192.0.2.9 10.0.0.1 1 2\r\n" + get(),
            "whoever could speak it could name any address"),
    refused("the PROXY protocol in its second version", b"\r\n\r\n\x00\r\nQUIT\n" + bytes(16) + get(), "as above"),
    served("X-HTTP-Method-Override", get(b"X-HTTP-Method-Override: DELETE", b"X-Method-Override: DELETE",
                                         b"X-HTTP-Method: DELETE"), _OVERRIDE, "/api/tags"),
    served("X-Original-URL, X-Rewrite-URL", get(b"X-Original-URL: /api/pull", b"X-Rewrite-URL: /api/pull"), _OVERRIDE,
           "/api/tags"),
    served("an Origin of elsewhere", get(b"Origin: https://evil.example", b"Sec-Fetch-Mode: cors"),
           "nothing is allowed to browsers by it, and it goes no further", "/api/tags"),
    served("a range", get(b"Range: bytes=0-0,-1,5-2"), "RFC 9110 §14.2: ranges may be ignored", "/api/tags"),
    served("conditions", get(b"If-None-Match: *", b"If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT"),
           "they stay behind: the answer is always whole", "/api/tags"),
    served("TE: trailers, gzip", get(b"TE: trailers, gzip", b"Connection: TE"), "no answer has trailers or codings",
           "/api/tags"),
    served("Max-Forwards: 0", get(b"Max-Forwards: 0"), "RFC 9110 §7.6.2: for TRACE and OPTIONS alone", "/api/tags"),
    served("Accept of nothing", get(b"Accept: ", b"Accept-Encoding: identity;q=0, *;q=0"), "not negotiated",
           "/api/tags"),
)  # fmt: skip

REQUESTS: tuple[Hostile, ...] = (*FORM, *HOSTS, *EXPECTATIONS, *UPGRADES, *NAMED, *PROXIES)
