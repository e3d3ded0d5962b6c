"""Hostile framing: lengths, transfer codings, chunks, trailers."""

from tests.hostile.raw_requests import BODY, CHUNK, LAST, Hostile, chunked, elsewhere, get, head, post, refused, served

_BOTH = "RFC 9112 §6.3: both framings may be an attempt at smuggling; refused, closed"
_LENGTH = "RFC 9110 §8.6: digits alone, once"
_CODING = "RFC 9112 §6.1: a coding that is not understood is 501, one that does not end with chunked 400"
_SPELLED = "RFC 9112 §6.1: whoever does not see chunked here would see another request in the body"
_CHUNK = "RFC 9112 §7.1: hexadecimal digits, CRLF, so many bytes, CRLF"
_EXTENSION = "RFC 9112 §7.1.1: `;` with a token, CRLF at the end"
_TRAILER = "RFC 9112 §7.1.2: trailers are dropped, never merged into the head"
_NO_BODY = "RFC 9110 §9.3.1: content of a GET means nothing; it is refused as a likely smuggling"

_N = len(BODY)
_SIZE = b"Content-Length: %d" % _N
_TE = b"Transfer-Encoding: chunked"


def _coded(name: str, field: bytes, why: str = _CODING, status: int = 400) -> Hostile:
    return refused(name, post(field, body=CHUNK + LAST), why, status)


LENGTHS = (
    refused("Content-Length, then Transfer-Encoding", post(_SIZE, _TE, body=CHUNK + LAST), _BOTH),
    refused("Transfer-Encoding, then Content-Length", post(_TE, _SIZE, body=CHUNK + LAST), _BOTH),
    refused("Content-Length: 0 with chunks", post(b"Content-Length: 0", _TE, body=CHUNK + LAST), _BOTH),
    refused("two lengths", post(_SIZE, b"Content-Length: 3"), _LENGTH),
    refused("two equal lengths", post(_SIZE, _SIZE), _LENGTH),
    refused("a list of lengths", post(b"Content-Length: %d, %d" % (_N, _N)), _LENGTH),
    refused("a length with a plus", post(b"Content-Length: +%d" % _N), _LENGTH),
    refused("a negative length", post(b"Content-Length: -1"), _LENGTH),
    refused("a length in hexadecimal", post(b"Content-Length: 0x%x" % _N), _LENGTH),
    refused("a length with a point", post(b"Content-Length: %d.0" % _N), _LENGTH),
    refused("a length with an exponent", post(b"Content-Length: 1e2"), _LENGTH),
    refused("a length with an underscore", post(b"Content-Length: 1_0"), _LENGTH),
    refused("a length with a space in it", post(b"Content-Length: 1 0"), _LENGTH),
    refused("a length in quotes", post(b'Content-Length: "%d"' % _N), _LENGTH),
    refused("an empty length", post(b"Content-Length:"), _LENGTH),
    refused("a length in figures past ASCII", post("Content-Length: ١٢".encode()), _LENGTH),
    refused("a length with a vertical tab", post(b"Content-Length: \x0b%d" % _N), _LENGTH),
    refused("a length past 64 bits", post(b"Content-Length: 18446744073709551616"), _LENGTH),
    refused("a length of 400 figures", post(b"Content-Length: " + b"9" * 400), _LENGTH),
    refused("a folded length", post(b"Content-Length:\r\n %d" % _N), "RFC 9112 §5.2"),
    refused("a length with a space before the colon", post(b"Content-Length : %d" % _N), "RFC 9112 §5.1"),
    elsewhere("a length of 64 bits", post(b"Content-Length: 18446744073709551615"), "MAX_BODY_BYTES", 413, kept=False),
    served("a length with zeros before it", post(b"Content-Length: 000%d" % _N), "RFC 9110 §8.6: digits", "/api/chat"),
    served("a length with spaces around", post(b"Content-Length: \t %d \t" % _N), "RFC 9112 §5.1", "/api/chat"),
    elsewhere("content_length", post(b"Content_Length: %d" % _N, body=b""), "another field: there is no body", 400),
    refused("a GET with a length", get(b"Content-Length: 4") + b"GET ", _NO_BODY),
    refused("a GET with chunks", get(_TE) + b"0\r\n\r\n", _NO_BODY),
    refused("a HEAD with a length", get(b"Content-Length: 4", method=b"HEAD") + b"GET ", _NO_BODY),
    served("a GET with a length of nothing", get(b"Content-Length: 0"), "RFC 9110 §9.3.1", "/api/tags"),
)

CODINGS = (
    _coded("gzip, then chunked", b"Transfer-Encoding: gzip, chunked", _CODING, 501),
    _coded("identity, then chunked", b"Transfer-Encoding: identity, chunked", _CODING, 501),
    _coded("an empty coding, then chunked", b"Transfer-Encoding: , chunked", _CODING, 501),
    _coded("chunked, then gzip", b"Transfer-Encoding: chunked, gzip"),
    _coded("chunked twice", b"Transfer-Encoding: chunked, chunked"),
    _coded("gzip alone", b"Transfer-Encoding: gzip", _CODING, 501),
    _coded("identity alone", b"Transfer-Encoding: identity", _CODING, 501),
    _coded("xchunked", b"Transfer-Encoding: xchunked", _SPELLED, 501),
    _coded("chunked with a parameter", b"Transfer-Encoding: chunked;q=1", _SPELLED, 501),
    _coded("chunked in quotes", b'Transfer-Encoding: "chunked"', _SPELLED, 501),
    _coded("chunked with a comma behind it", b"Transfer-Encoding: chunked,", _SPELLED),
    _coded("chunked with a vertical tab", b"Transfer-Encoding: \x0bchunked", _SPELLED),
    _coded("chunked with a NUL", b"Transfer-Encoding: chunked\x00", _SPELLED),
    _coded("chunked with a byte past ASCII", b"Transfer-Encoding: chunked\xa0", _SPELLED, 501),
    _coded("an empty coding", b"Transfer-Encoding:"),
    _coded("chunked on a folded line", b"Transfer-Encoding:\r\n chunked", "RFC 9112 §5.2"),
    _coded("a space before the colon of the coding", b"Transfer-Encoding : chunked", "RFC 9112 §5.1"),
    _coded("two fields, chunked in both", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
    _coded("two fields, chunked, identity", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"),
    _coded("two fields, identity, chunked", b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", _CODING, 501),
    _coded("two fields in two cases", b"Transfer-Encoding: chunked\r\ntRANSFER-eNCODING: x"),
    refused("chunks in HTTP/1.0", head(b"POST /api/chat HTTP/1.0", _TE) + CHUNK + LAST,
            "RFC 9112 §6.1: framing is faulty where 1.0 says chunked"),
    elsewhere("transfer_encoding", post(b"Transfer_Encoding: chunked", b"Content-Length: 0", body=b""),
              "another field: there is no body", 400),
    served("CHUNKED", post(b"Transfer-Encoding: CHUNKED", body=CHUNK + LAST), "RFC 9112 §7: not case-sensitive",
           "/api/chat"),
    served("chunked with spaces before it", post(b"Transfer-Encoding: \t chunked", body=CHUNK + LAST), "RFC 9112 §5.1",
           "/api/chat"),
    _coded("chunked with spaces behind it", b"Transfer-Encoding: chunked \t", "stricter than RFC 9112 §5.1 asks"),
)  # fmt: skip

CHUNKS = (
    refused("a negative size", chunked(b"-3\r\nabc\r\n" + LAST), _CHUNK),
    refused("a size with a plus", chunked(b"+3\r\nabc\r\n" + LAST), _CHUNK),
    refused("a size with 0x", chunked(b"0x3\r\nabc\r\n" + LAST), _CHUNK),
    refused("a size past 64 bits", chunked(b"1" + b"0" * 16 + b"\r\nabc\r\n" + LAST), _CHUNK),
    refused("a size that is none", chunked(b"g\r\nabc\r\n" + LAST), _CHUNK),
    refused("an empty size", chunked(b"\r\nabc\r\n" + LAST), _CHUNK),
    refused("a space before the size", chunked(b" 3\r\nabc\r\n" + LAST), _CHUNK),
    refused("a space behind the size", chunked(b"3 \r\nabc\r\n" + LAST), _CHUNK),
    refused("a size with an underscore", chunked(b"1_0\r\nabc\r\n" + LAST), _CHUNK),
    refused("a comma behind the size", chunked(b"3,\r\nabc\r\n" + LAST), _CHUNK),
    refused("a NUL behind the size", chunked(b"3\x00\r\nabc\r\n" + LAST), _CHUNK),
    refused("a bare LF behind the size", chunked(b"3\nabc\r\n" + LAST), _CHUNK),
    refused("a bare CR behind the size", chunked(b"3\rabc\r\n" + LAST), _CHUNK),
    refused("CR CR LF behind the size", chunked(b"3\r\r\nabc\r\n" + LAST), _CHUNK),
    refused("no CRLF behind the data", chunked(b"3\r\nabc" + LAST), _CHUNK),
    refused("a bare LF behind the data", chunked(b"3\r\nabc\n" + LAST), _CHUNK),
    refused("a bare CR behind the data", chunked(b"3\r\nabc\r" + LAST), _CHUNK),
    refused("more data than the size", chunked(b"3\r\nabcdef\r\n" + LAST), _CHUNK),
    refused("two bare LF at the end", chunked(CHUNK + b"0\n\n"), _CHUNK),
    refused("an empty line for the last chunk", chunked(CHUNK + b"\r\n"), _CHUNK),
    elsewhere("a size of 64 bits", chunked(b"f" * 16 + b"\r\nabc"), "nothing is set aside for it; BODY_TIMEOUT_S", 408,
              kept=False),
    elsewhere("a size larger than what comes", chunked(b"ff\r\nabc"), "BODY_TIMEOUT_S", 408, kept=False),
    elsewhere("chunks without an end", chunked(CHUNK), "BODY_TIMEOUT_S", 408, kept=False),
    served("zeros before the size", chunked(b"0" * 30 + CHUNK + LAST), "RFC 9112 §7.1: any number of figures",
           "/api/chat"),
    served("a last chunk of many zeros", chunked(CHUNK + b"000\r\n\r\n"), 'RFC 9112 §7.1: 1*("0")', "/api/chat"),
    served("one chunk a byte", chunked(b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + LAST), _CHUNK, "/api/chat"),
    served("an extension", chunked(CHUNK.replace(b"\r\n", b";a=b\r\n", 1) + LAST), _EXTENSION, "/api/chat"),
    served("an extension in quotes", chunked(CHUNK.replace(b"\r\n", b';a="b c"\r\n', 1) + LAST), _EXTENSION,
           "/api/chat"),
    refused("an extension without a name", chunked(b"3;\r\nabc\r\n" + LAST), _EXTENSION),
    refused("an extension with a bare LF", chunked(b"3;a\nabc\r\n" + LAST), _EXTENSION),
    refused("an extension with a bare CR", chunked(b"3;a\rb\r\nabc\r\n" + LAST), _EXTENSION),
    refused("an extension with a NUL", chunked(b"3;a\x00\r\nabc\r\n" + LAST), _EXTENSION),
    refused("an extension with open quotes", chunked(b'3;a="\r\n\r\nabc\r\n' + LAST), _EXTENSION),
    refused("an extension past ASCII", chunked(b"3;a=\xff\r\nabc\r\n" + LAST), _EXTENSION),
)  # fmt: skip

_ENDED = CHUNK + b"0\r\n"
TRAILERS = (
    served("a trailer", chunked(_ENDED + b"X-A: b\r\n\r\n"), _TRAILER, "/api/chat"),
    served("a trailer with another credential", chunked(_ENDED + b"Authorization: Bearer nz_x\r\n\r\n"), _TRAILER,
           "/api/chat"),
    served("a trailer with another Host", chunked(_ENDED + b"Host: evil.example\r\n\r\n"), _TRAILER, "/api/chat"),
    served("a trailer with an address", chunked(_ENDED + b"X-Forwarded-For: 192.0.2.9\r\n\r\n"), _TRAILER, "/api/chat"),
    refused("a trailer with a length", chunked(_ENDED + b"Content-Length: 5\r\n\r\n"), _BOTH),
    refused("a trailer with a coding", chunked(_ENDED + b"Transfer-Encoding: chunked\r\n\r\n"), _CODING),
    refused("a space before the colon of a trailer", chunked(_ENDED + b"X-A : b\r\n\r\n"), "RFC 9112 §5.1"),
    refused("a folded trailer", chunked(_ENDED + b"X-A: a\r\n b\r\n\r\n"), "RFC 9112 §5.2"),
    refused("a bare LF behind a trailer", chunked(_ENDED + b"X-A: b\n\r\n"), "RFC 9112 §2.2"),
    refused("trailers of 600,000 bytes", chunked(_ENDED + b"X-A: " + b"a" * 600_000 + b"\r\n\r\n"),
            "what is no data may be as long as a head, beyond what one read brings", 431),
)  # fmt: skip

REQUESTS: tuple[Hostile, ...] = (*LENGTHS, *CODINGS, *CHUNKS, *TRAILERS)
