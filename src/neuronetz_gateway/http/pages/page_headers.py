"""What every answer with a file of the pages says of itself to a browser."""

from collections.abc import Mapping

# Nothing may run, load, frame or leave but what comes from here: no inline script or style, no string made into code
# (https://www.w3.org/TR/CSP3/, https://www.w3.org/TR/trusted-types/). A model's answer is text, whatever it holds.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
# Browsers complain aloud of a name that they do not know, so these are the old ones.
_UNUSED_FEATURES = (
    "camera",
    "display-capture",
    "geolocation",
    "microphone",
    "payment",
    "publickey-credentials-get",
    "usb",
)

PAGE_HEADERS: Mapping[bytes, bytes] = {
    b"content-security-policy": CONTENT_SECURITY_POLICY.encode("ascii"),
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"permissions-policy": ", ".join(f"{name}=()" for name in _UNUSED_FEATURES).encode("ascii"),
    b"cache-control": b"no-cache",  # kept, and asked for again by its ETag at each use
}
