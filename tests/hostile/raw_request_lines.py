"""Hostile request lines: methods, targets, versions."""

from tests.hostile.raw_requests import BODY, KEY, Hostile, elsewhere, get, head, refused, served, sized

_LINE = "RFC 9112 §3: one space between the parts, nothing else"
_METHOD = "RFC 9110 §9.1: a method that is not known is answered 501; methods are case-sensitive"
_VERSION = "RFC 9112 §2.3: HTTP/1.0 and HTTP/1.1 are spoken, nothing else is guessed at"
_FORM = "RFC 9112 §3.2: a gateway that is no proxy needs the origin-form alone; others name a host beside `Host`"
_TARGET = "RFC 3986 §3.3: no octet of a path; a lenient reader may end or change the path at it"
_TABLE = "the path is looked up byte by byte as it came, never decoded, cleaned or folded (OLLAMA §2)"
_BLOCKED = "decoded and cleaned it names a route that is closed to everybody; it is told so, and goes nowhere"
_QUERY = "the query is no part of the look-up, and stays behind"

METHODS = (
    refused("a method in lower case", head(b"get /api/tags HTTP/1.1"), _METHOD, 501),
    refused("a method in mixed case", head(b"Get /api/tags HTTP/1.1"), _METHOD, 501),
    refused("an invented method", head(b"FOO /api/tags HTTP/1.1"), _METHOD, 501),
    refused("a method of odd but permitted letters", head(b"M!#$%&'*+-.^_`|~ /api/tags HTTP/1.1"), _METHOD, 501),
    refused("a method of 10,000 letters", head(b"A" * 10_000 + b" /api/tags HTTP/1.1"), _METHOD, 501),
    refused("a method of RTSP", head(b"DESCRIBE /api/tags HTTP/1.1"), _METHOD, 501),
    refused("a method with a colon", head(b"GE:T /api/tags HTTP/1.1"), _LINE),
    refused("a method with a NUL", head(b"GET\x00 /api/tags HTTP/1.1"), _LINE),
    refused("a method of bytes past ASCII", head(b"G\xc9T /api/tags HTTP/1.1"), _LINE),
    refused("no method", head(b" /api/tags HTTP/1.1"), _LINE),
    elsewhere("TRACE", get(method=b"TRACE"), "the path takes GET and HEAD; nothing is echoed", 404),
    elsewhere("PROPFIND", get(method=b"PROPFIND"), "a method of another protocol, not in the table", 404),
    elsewhere("SOURCE", get(method=b"SOURCE"), "a method of Icecast, not in the table", 404),
    elsewhere("OPTIONS on a path", get(method=b"OPTIONS"), "no CORS: browsers of other sites get no leave", 404),
    elsewhere("PUT on a path that takes GET", get(b"Content-Length: 0", method=b"PUT"), "not in the table", 404),
    elsewhere("DELETE on a closed path", get(method=b"DELETE", target=b"/api/delete"), _BLOCKED, 403),
    elsewhere("HEAD where GET alone stands", get(method=b"HEAD", target=b"/api/ps"), "HEAD is not added to GET", 404),
)

LINES = (
    refused("two spaces before the target", head(b"GET  /api/tags HTTP/1.1"), _LINE),
    refused("two spaces, with the right line in a field",
            head(b"GET  /api/tags HTTP/1.1", b"X: GET /api/tags HTTP/1.1"), _LINE),
    refused("two spaces before the version", head(b"GET /api/tags  HTTP/1.1"), _LINE),
    refused("a space at the end of the line", head(b"GET /api/tags HTTP/1.1 "), _LINE),
    refused("a space at the start of the line", head(b" GET /api/tags HTTP/1.1"), _LINE),
    refused("a tab for the first space", head(b"GET\t/api/tags HTTP/1.1"), _LINE),
    refused("a tab for the second space", head(b"GET /api/tags\tHTTP/1.1"), _LINE),
    refused("a vertical tab for a space", head(b"GET\x0b/api/tags HTTP/1.1"), _LINE),
    refused("a space within the target", head(b"GET /api/tags /api/ps HTTP/1.1"), _LINE),
    refused("a NUL before the line", b"\x00" + get(), _LINE),
    refused("a byte order mark before the line", b"\xef\xbb\xbf" + get(), _LINE),
    refused("a header field first", b"Host: gateway\r\n" + get(), _LINE),
    refused("a bare LF at the end of the line", get().replace(b"HTTP/1.1\r\n", b"HTTP/1.1\n", 1), "RFC 9112 §2.2"),
    refused("a bare CR at the end of the line", get().replace(b"HTTP/1.1\r\n", b"HTTP/1.1\r", 1), "RFC 9112 §2.2"),
    refused("CR CR LF at the end of the line", get().replace(b"HTTP/1.1\r\n", b"HTTP/1.1\r\r\n", 1), "RFC 9112 §2.2"),
    refused("a request line alone, folded", head(b"GET /api/tags\r\n HTTP/1.1"), _LINE),
    refused("the hello of TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64), "TLS ends in front of it"),
    refused("a command of Redis", b"*1\r\n$4\r\nPING\r\n\r\n", "no HTTP"),
    refused("a command of SMTP", b"EHLO gateway\r\n\r\n", "no HTTP"),
    served("two empty lines before the line", b"\r\n\r\n" + get(), "RFC 9112 §2.2: empty lines are to be ignored",
           "/api/tags"),
)  # fmt: skip

VERSIONS = (
    refused("HTTP/0.9, without a version", b"GET /api/tags\r\n\r\n", _LINE, 505),
    refused("HTTP/0.9, by name", head(b"GET /api/tags HTTP/0.9"), _VERSION, 505),
    refused("HTTP/1.2", head(b"GET /api/tags HTTP/1.2"), _VERSION, 505),
    refused("HTTP/2.0 in the words of HTTP/1.1", head(b"GET /api/tags HTTP/2.0"), _VERSION, 505),
    refused("HTTP/3.0", head(b"GET /api/tags HTTP/3.0"), _VERSION, 505),
    refused("HTTP/11.1", head(b"GET /api/tags HTTP/11.1"), _LINE),
    refused("HTTP/1.10", head(b"GET /api/tags HTTP/1.10"), _LINE),
    refused("HTTP/1", head(b"GET /api/tags HTTP/1"), _LINE),
    refused("HTTP/1,1", head(b"GET /api/tags HTTP/1,1"), _LINE),
    refused("HTTP/-1.1", head(b"GET /api/tags HTTP/-1.1"), _LINE),
    refused("http/1.1 in lower case", head(b"GET /api/tags http/1.1"), _LINE),
    refused("HTTPS/1.1", head(b"GET /api/tags HTTPS/1.1"), _LINE),
    refused("RTSP/1.0", head(b"GET /api/tags RTSP/1.0"), _LINE),
    refused("ICE/1.0", head(b"SOURCE /api/tags ICE/1.0"), _LINE),
    refused("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", _VERSION, 505),
    served("HTTP/1.0 without Host", head(b"GET /api/tags HTTP/1.0", host=False), "RFC 9112 §3.2: `Host` is 1.1's",
           "/api/tags", kept=False),
    served("HTTP/1.0 with keep-alive", head(b"GET /api/tags HTTP/1.0", b"Connection: keep-alive"),
           "one answer, then the connection is closed, as HTTP/1.0 has it", "/api/tags", kept=False),
)  # fmt: skip

TARGETS = (
    refused("absolute-form", get(target=b"http://gateway/api/tags"), _FORM),
    refused("absolute-form of another host", get(target=b"http://evil.example/api/tags"), _FORM),
    refused("absolute-form with a name before the host", get(target=b"http://gateway@evil.example/api/tags"), _FORM),
    refused("absolute-form without a host", get(target=b"http:///api/tags"), _FORM),
    refused("absolute-form of another scheme", get(target=b"file:///etc/passwd"), _FORM),
    refused("absolute-form of the cloud's own address", get(target=b"http://169.254.169.254/latest"), _FORM),
    refused("authority-form", get(target=b"gateway:80"), _FORM),
    refused("CONNECT with authority-form", get(method=b"CONNECT", target=b"127.0.0.1:11434"), "no tunnels", 501),
    refused("CONNECT with a path", get(method=b"CONNECT", target=b"/api/pull"), "no tunnels", 501),
    refused("asterisk-form", get(method=b"OPTIONS", target=b"*"), _FORM),
    refused("asterisk-form with GET", get(target=b"*"), _FORM),
    refused("a path without its slash", get(target=b"api/tags"), _FORM),
    refused("a query alone", get(target=b"?model=fakea"), _FORM),
    refused("a backslash first", get(target=b"\\api\\tags"), _FORM),
    refused("a fragment", get(target=b"/api/tags#/api/pull"), "RFC 9112 §3.2.1: a target has no fragment"),
    refused("a fragment in the query", get(target=b"/api/tags?a#b"), "RFC 9112 §3.2.1: a target has no fragment"),
    refused("a NUL in the path", get(target=b"/api/tags\x00"), _TARGET),
    refused("a tab in the path", get(target=b"/api/\ttags"), _TARGET),
    refused("DEL in the path", get(target=b"/api/tags\x7f"), _TARGET),
    refused("bytes past ASCII in the path", get(target=b"/api/t\xc3\xa4gs"), _TARGET),
    refused("an overlong slash in UTF-8", get(target=b"/api\xc0\xaftags"), _TARGET),
    refused("a CR in the path", get(target=b"/api/tags\rX: y"), _TARGET),
    refused("a path of 70,000 bytes", get(target=b"/" + b"a" * 70_000), "a head has 64 KiB", 431),
    refused("a query of 70,000 bytes", get(target=b"/api/tags?" + b"a" * 70_000), "a head has 64 KiB", 431),
    elsewhere("an encoded letter", get(target=b"/api/%74ags"), _TABLE, 404),
    elsewhere("an encoded slash", get(target=b"/api%2Ftags"), _TABLE, 404),
    elsewhere("an encoded NUL", get(target=b"/api/tags%00"), _TABLE, 404),
    elsewhere("two slashes", get(target=b"/api//tags"), _TABLE, 404),
    elsewhere("two slashes first", get(target=b"//api/tags"), _TABLE, 404),
    elsewhere("what a browser would take for a host", get(target=b"//evil.example/api/tags"), _TABLE, 404),
    elsewhere("a slash at the end", get(target=b"/api/tags/"), _TABLE, 404),
    elsewhere("a dot segment", get(target=b"/api/./tags"), _TABLE, 404),
    elsewhere("a double dot segment", get(target=b"/v1/../api/tags"), _TABLE, 404),
    elsewhere("encoded dots", get(target=b"/v1/%2e%2e/api/tags"), _TABLE, 404),
    elsewhere("matrix parameters", get(target=b"/api/tags;x=1"), _TABLE, 404),
    elsewhere("a backslash for a slash", get(target=b"/api\\tags"), _TABLE, 404),
    elsewhere("another case", get(target=b"/API/tags"), _TABLE, 404),
    elsewhere("a bad escape", get(target=b"/api/tags%zz"), _TABLE, 404),
    elsewhere("a closed path with an encoded letter", sized(target=b"/api/%70ull"), _BLOCKED, 403),
    elsewhere("a closed path with an encoded slash", sized(target=b"/api%2fpull"), _BLOCKED, 403),
    elsewhere("a closed path behind dots", sized(target=b"/v1/../api/pull"), _BLOCKED, 403),
    elsewhere("a closed path behind two slashes", sized(target=b"//api//pull"), _BLOCKED, 403),
    elsewhere("a closed path behind a backslash", sized(target=b"/api\\pull"), _BLOCKED, 403),
    elsewhere("a closed path with a matrix parameter", sized(target=b"/api/pull;a"), _BLOCKED, 403),
    served("a query that names another model", get(target=b"/api/tags?model=x:cloud"), _QUERY, "/api/tags"),
    served("a query with a closed path in it", get(target=b"/api/tags?/../api/pull"), _QUERY, "/api/tags"),
    served("a query of many marks", get(target=b"/api/tags???&&==%00%"), _QUERY, "/api/tags"),
)  # fmt: skip

# A second request in the bytes of the first one, at every place where somebody could begin to read it.
_HIDDEN = b"GET /api/ps HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer " + KEY + b"\r\n\r\n"
BEHIND = (
    served("a request behind a request", get() + _HIDDEN,
           "one at a time: the first is answered, then the connection is closed (RFC 9112 §9.3.2)", "/api/tags",
           kept=False),
    served("what is no request behind a request", get() + b"\x00\x01\x02 nothing\r\n\r\n",
           "the request is answered; what follows it never is, so that no answer can be taken for another's",
           "/api/tags", kept=False),
    served("a body longer than its length", sized(body=BODY) + b"GARBAGE",
           "what is over the length is the next request; it is not answered", "/api/chat", kept=False),
    served("a request hidden behind a body", sized(body=BODY) + _HIDDEN,
           "one at a time, as above", "/api/chat", kept=False),
    served("an empty line behind a body", sized(body=BODY) + b"\r\n", "RFC 9112 §2.2: to be ignored", "/api/chat"),
)  # fmt: skip

REQUESTS: tuple[Hostile, ...] = (*METHODS, *LINES, *VERSIONS, *TARGETS, *BEHIND)
