"""docs/ERRORS.md, written from the one table of failures, with what the SDKs themselves make of each."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import anthropic
import httpx
import httpx2
import ollama
import openai

from neuronetz_gateway import errors
from neuronetz_gateway.errors import GatewayError
from neuronetz_gateway.surfaces.anthropic import ANTHROPIC
from neuronetz_gateway.surfaces.failures import FAILURES, Failure
from neuronetz_gateway.surfaces.ollama import OLLAMA
from neuronetz_gateway.surfaces.openai import OPENAI
from neuronetz_gateway.surfaces.responses import RESPONSES
from neuronetz_gateway.surfaces.surface import Surface

PAGE = Path(__file__).parents[2] / "docs" / "ERRORS.md"
REQUEST_ID = "0199f3a2c4d87c1e9b6f5a40d2e81733"
TITLES = {"Ollama, `/api/*`": OLLAMA, "OpenAI, `/v1/*`": OPENAI, "Anthropic, `/v1/messages`": ANTHROPIC}

_HEAD = """# Errors

Every refusal, in the words of the protocol that was spoken. This page is written by `just docs` from
`surfaces/failures.py`, the one table that the gateway itself uses; a test holds the two equal.

- A program should act on the **code**: it stands in `error.code` (OpenAI) and `error.details.error_code` (Anthropic),
  and in the gateway's metrics and audit. Ollama's protocol has no place for it: there the status has to do.
- The **message** is for people; its wording may change. It never holds a key, nor anything of the model server's
  host: words of the model server pass only where they are known or plainly harmless.
- Every answer has an `x-request-id`, yours if you sent one; on `/v1/messages` it is also called `request-id`. Name it
  to your operator, whose log and audit have the cause.
- **Retried** says what the OpenAI and Anthropic SDKs do by themselves, at most twice (`max_retries`): they repeat 408,
  409, 429 and everything from 500 on, unless `x-should-retry` says otherwise. The Ollama libraries never retry.
  `retry-after-ms` is never longer than two minutes, since SDKs sleep for as long as they are told.
"""

_EVENTS = """## After the first byte

A stream whose status is out already ends with the error as a last event, in a record of its own; then the connection is
closed without the end that HTTP prescribes, so that no reader can take the stream for whole. Whatever the model server
had begun of a record is left out. The SDKs raise on the event: `ollama.ResponseError`, `openai.APIError`,
`anthropic.APIStatusError`. What was delivered is charged, with the prompt. An answer in one piece that breaks is
refused with 502 where nothing of it had been sent, else it stops short of its length.
"""

EXAMPLES: tuple[GatewayError, ...] = (
    errors.InvalidRequestError("'stream' must be true or false.", field="stream"),
    errors.ContextExceededError(
        "The prompt is longer than the context of the model: 9,412 tokens, of which it holds 8,192. Shorten it."
    ),
    errors.RequestBeyondLimitError(
        "This request may need 5,120 tokens, more than the 4,000 tokens a minute (key.tpm) could ever hold. Lower "
        "max_tokens or shorten the prompt."
    ),
    errors.MalformedRequestError("The request needs one 'Host' header, no more."),
    errors.UnauthenticatedError(),
    errors.TenantSuspendedError("This tenant is suspended."),
    errors.ModelForbiddenError(
        "This key may not use the model 'qwen3:8b'. The list of models shows which it may use.", field="model"
    ),
    errors.LoadingForbiddenError(
        "'prompt' is missing or empty, which would load or unload the model; this key may not do that. Send a prompt.",
        field="prompt",
    ),
    errors.AddressForbiddenError("203.0.113.9"),
    errors.EndpointBlockedError("This endpoint is blocked by the gateway, for everybody."),
    errors.EndpointNotFoundError("There is no such endpoint here. Did you mean '/v1/chat/completions'?"),
    errors.ModelNotFoundError("qwen3:8b"),
    errors.RequestTimeoutError("The request body did not arrive within 30 s."),
    errors.RequestTooLargeError("The request body is larger than 16777216 bytes (MAX_BODY_BYTES)."),
    errors.UnsupportedMediaTypeError("Compressed request bodies are not accepted; send the JSON as it is."),
    errors.RateLimitedError(
        "Rate limit reached for this key: 60 requests a minute (key.rpm); 0 left. Try again in 12 s.",
        limit="key.rpm",
        retry_after_seconds=11.4,
    ),
    errors.BudgetExceededError(
        "The daily token budget of this tenant has 310 of 50,000 tokens left; this request needs at least 1,093 "
        "(prompt up to 1,092 + 1 of output) and could take 1,192. It resets at 2026-03-01T00:00:00+01:00.",
        limit="tenant.daily",
        retry_after_seconds=51_240.0,
    ),
    GatewayError("The gateway failed. The request was not completed."),
    errors.UpstreamBrokenError("The model server broke off its answer."),
    errors.UpstreamTooOldError("The model server does not know this endpoint; it may be too old for it."),
    errors.AnswerUnreadableError("The model called a tool in a form that the model server could not read."),
    errors.AnswerCutError("The answer was cut by the gateway: its place under the limits was lost."),
    errors.UnavailableError("The budget ledger is not available."),
    errors.OverloadedError("The model server is busy."),
    errors.StalePrincipalError("The settings of this API key have just changed; please send the request again."),
    errors.ShuttingDownError("The gateway is shutting down."),
    errors.UpstreamUnreachableError("The model server cannot be reached."),
    errors.UpstreamTimedOutError("The model server did not begin to answer in time."),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes over the wire for one refusal on one surface."""

    status: int
    body: bytes
    headers: dict[str, str]

    @staticmethod
    def of(surface: Surface, error: GatewayError) -> "Answer":
        headers = {name.decode(): value.decode() for name, value in surface.error_headers(error, REQUEST_ID)}
        return Answer(error.status, surface.error_body(error, REQUEST_ID), headers)

    @property
    def wire_headers(self) -> dict[str, str]:
        return {"content-type": "application/json", **self.headers}


def page() -> str:
    examples = {type(error): error for error in EXAMPLES}
    rows = [(failure, examples[failure.error]) for failure in FAILURES]
    rows.sort(key=lambda row: row[0].error.status)
    parts = [_HEAD, "## Overview\n", *_overview(rows), "\n## Each of them\n"]
    for failure, error in rows:
        parts.extend(_section(failure, error))
    parts.extend(_events(errors.UpstreamTimedOutError("The request took too long.")))
    return "\n".join(parts)


def _overview(rows: list[tuple[Failure, GatewayError]]) -> Iterator[str]:
    yield "| status | code | when | retried | `openai` raises | `anthropic` raises |"
    yield "|---|---|---|---|---|---|"
    for failure, error in rows:
        retried = "yes" if retried_by_sdks(error) else "no"
        link = f"[`{error.code}`](#{error.status}-{error.code})"
        yield (
            f"| {error.status} | {link} | {failure.when} | {retried} "
            f"| `{raised_by_openai(error)}` | `{raised_by_anthropic(error)}` |"
        )


def _section(failure: Failure, error: GatewayError) -> Iterator[str]:
    yield f"### {error.status} {error.code}\n"
    yield f"{failure.when}\n"
    yield f"**{'Retried' if retried_by_sdks(error) else 'Not retried'}.** {failure.retry}\n"
    headers = Answer.of(OLLAMA, error).headers
    if headers:
        yield "Headers: " + ", ".join(f"`{name}: {value}`" for name, value in headers.items()) + "\n"
    yield (
        f"Raised: `ollama.{raised_by_ollama(error)}`, `openai.{raised_by_openai(error)}`, "
        f"`anthropic.{raised_by_anthropic(error)}`\n"
    )
    for title, surface in TITLES.items():
        yield f"{title}\n\n```json\n{Answer.of(surface, error).body.decode()}\n```\n"


def _events(error: GatewayError) -> Iterator[str]:
    yield _EVENTS
    for title, surface in {**TITLES, "OpenAI, `/v1/responses`": RESPONSES.surface}.items():
        yield f"{title}\n\n```\n{surface.error_event(error, REQUEST_ID).decode().strip()}\n```\n"


def retried_by_sdks(error: GatewayError) -> bool:
    """Whether the SDKs send the request again; they agree on all there is. They tell it by a private method alone."""
    first, second = Answer.of(OPENAI, error), Answer.of(ANTHROPIC, error)
    request = httpx2.Request("POST", "http://gateway")
    verdicts = {
        _openai(first)._should_retry(httpx2.Response(first.status, headers=first.wire_headers, request=request)),
        _anthropic(second)._should_retry(httpx2.Response(second.status, headers=second.wire_headers, request=request)),
    }
    [verdict] = verdicts
    return verdict


def raised_by_openai(error: GatewayError) -> str:
    """The name of the exception; its fields must be the ones that the gateway meant."""
    client = _openai(Answer.of(OPENAI, error))
    try:
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hello"}])
    except openai.APIStatusError as raised:
        if (raised.code, raised.param) != (error.code, error.field) or error.message not in str(raised):
            raise AssertionError("openai reads this refusal otherwise") from raised
        return type(raised).__name__
    raise AssertionError("openai took a refusal for an answer")


def raised_by_anthropic(error: GatewayError) -> str:
    """See raised_by_openai."""
    client = _anthropic(Answer.of(ANTHROPIC, error))
    try:
        client.messages.create(model="m", max_tokens=1, messages=[{"role": "user", "content": "Hello"}])
    except anthropic.APIStatusError as raised:
        if (raised.error_code, raised.api_message, raised.request_id) != (error.code, error.message, REQUEST_ID):
            raise AssertionError("anthropic reads this refusal otherwise") from raised
        return type(raised).__name__
    raise AssertionError("anthropic took a refusal for an answer")


def raised_by_ollama(error: GatewayError) -> str:
    """See raised_by_openai."""
    answer = Answer.of(OLLAMA, error)
    told = httpx.MockTransport(lambda _: httpx.Response(answer.status, content=answer.body))
    try:
        ollama.Client("http://gateway", transport=told).chat("m", [])
    except ollama.ResponseError as raised:
        if (raised.status_code, raised.error) != (error.status, error.message):
            raise AssertionError("ollama reads this refusal otherwise") from raised
        return type(raised).__name__
    raise AssertionError("ollama took a refusal for an answer")


def _openai(answer: Answer) -> openai.OpenAI:
    return openai.OpenAI(base_url="http://gateway/v1", api_key="nz_", max_retries=0, http_client=_telling(answer))


def _anthropic(answer: Answer) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url="http://gateway", api_key="nz_", max_retries=0, http_client=_telling(answer))


def _telling(answer: Answer) -> httpx2.Client:
    headers = {**answer.wire_headers, "x-request-id": REQUEST_ID, "request-id": REQUEST_ID}
    reply = httpx2.MockTransport(lambda _: httpx2.Response(answer.status, content=answer.body, headers=headers))
    return httpx2.Client(transport=reply)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
