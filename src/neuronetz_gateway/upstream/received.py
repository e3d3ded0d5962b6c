"""A response of the upstream as the relay takes it."""

import httpx

from neuronetz_gateway.upstream.reply import Reply


class ReceivedResponse(httpx.Response):
    """An answer to a PreparedRequest: an httpx.Response to whoever looks, whose fields are not normalised anew.

    httpx's own constructor, which is not called, took as long over them as the parser over the whole answer.
    """

    def __init__(self, reply: Reply) -> None:
        self.status_code = reply.status
        self.stream = reply
        self.fields = reply.headers
        self.extensions = {"http_version": b"HTTP/1.1"}
        self.is_closed = self.is_stream_consumed = False

    @property
    def headers(self) -> httpx.Headers:  # type: ignore[override]  # of httpx an attribute
        return httpx.Headers(self.fields)


def fields_of(response: httpx.Response) -> list[tuple[bytes, bytes]]:
    """The fields of any response as they came."""
    return response.fields if isinstance(response, ReceivedResponse) else response.headers.raw
