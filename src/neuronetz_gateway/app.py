"""The steps of one request, in their order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from time import monotonic

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.types import ASGIApp

from neuronetz_gateway.domain.identifier import uuid7
from neuronetz_gateway.domain.request_policy import RequestPolicy
from neuronetz_gateway.http.access_log import AccessLog
from neuronetz_gateway.http.account import AccountPage
from neuronetz_gateway.http.body_room import BodyRoom
from neuronetz_gateway.http.draining import Drain, Gateway
from neuronetz_gateway.http.endpoint_table import EndpointTable, Row
from neuronetz_gateway.http.error_handlers import add_error_handlers
from neuronetz_gateway.http.middleware.authentication import AuthenticationMiddleware
from neuronetz_gateway.http.middleware.budgeting import BudgetMiddleware
from neuronetz_gateway.http.middleware.opening import OpeningMiddleware
from neuronetz_gateway.http.middleware.prompt_logging import PromptLoggingMiddleware
from neuronetz_gateway.http.middleware.rate_limiting import RateLimitMiddleware
from neuronetz_gateway.http.middleware.reading import ReadingMiddleware
from neuronetz_gateway.http.ops import metrics_app, ops_router
from neuronetz_gateway.http.pages.page_table import PageTable
from neuronetz_gateway.http.readiness import Readiness
from neuronetz_gateway.http.relay import InFlight, Relay
from neuronetz_gateway.http.unmatched import Unmatched
from neuronetz_gateway.observability.logging import Tell, tell_request
from neuronetz_gateway.settings import Settings
from neuronetz_gateway.surfaces.catalog import ACCOUNT, ENDPOINTS
from neuronetz_gateway.surfaces.surface import Endpoint, RequestRules
from neuronetz_gateway.wiring import Services


def create_app(settings: Settings, services: Services, tell: Tell = tell_request) -> Gateway:
    """The gateway as an ASGI application; its lifespan starts the services and closes them, flushed.

    `tell` is what writes the line of each request.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await services.start()
        try:
            yield
        finally:
            await services.aclose()

    relay = Relay(
        services.upstream,
        services.limiter,
        InFlight(settings.upstream_max_in_flight),
        total_seconds=settings.upstream_total_timeout_s,
    )
    app = FastAPI(
        lifespan=lifespan,
        openapi_url=None,
        redirect_slashes=False,
    )
    drain, room = Drain(services.limiter), BodyRoom(settings.max_bodies_bytes)
    found = services.metrics.vitals.dependency_found
    readiness = Readiness(services.checks, clock=monotonic, stopping=lambda: drain.stopping, found=found)
    overview = services.self_observer.overview

    async def looks() -> None:  # a scrape has everything asked that nobody else does, so that its gauges are of now
        await asyncio.gather(readiness.missing(), overview.refresh())

    apart = settings.metrics_enabled and settings.metrics_port > 0
    app.include_router(
        ops_router(readiness, services.metrics if settings.metrics_enabled and not apart else None, looks)
    )
    unmatched = Unmatched(refusals=services.refusals, trusted_proxies=settings.proxy_networks, now=_utc_now)
    app.router.default = unmatched
    add_error_handlers(app, unmatched.on_http_exception)
    chains: dict[Row, ASGIApp] = {}
    named: dict[Row, ASGIApp] = {}
    for endpoint in ENDPOINTS:
        chain = chain_of(endpoint, settings, services, relay, drain, room)
        if endpoint.prefix is None:
            chains[endpoint.method, endpoint.path.encode("ascii")] = chain
        else:
            named[endpoint.method, endpoint.prefix.encode("ascii")] = chain
    chains[ACCOUNT.method, ACCOUNT.path.encode("ascii")] = account_chain(settings, services, drain)
    table = EndpointTable(chains, named, PageTable(app) if settings.playground_enabled else app)
    logged = AccessLog(
        table, metrics=services.metrics, tell=tell, new_id=uuid7, trusted_proxies=settings.proxy_networks
    )
    return Gateway(logged, drain, services.metrics.refused, metrics_app(services.metrics, looks) if apart else None)


def chain_of(
    endpoint: Endpoint, settings: Settings, services: Services, relay: Relay, drain: Drain, room: BodyRoom
) -> ASGIApp:
    """The whole chain before one row of the endpoint table (DESIGN §1)."""
    steps = [  # outermost first: the way in, top to bottom; the way out, bottom to top
        *_first_steps(endpoint, settings, services, drain),
        Middleware(
            ReadingMiddleware,
            endpoint=endpoint,
            rules=rules_of(settings, services),
            room=room,
            max_body_bytes=settings.max_body_bytes,
            body_timeout_seconds=settings.body_timeout_s,
            kept_bytes=settings.prompt_log_max_bytes,
        ),
        Middleware(RateLimitMiddleware, limiter=services.limiter, max_output_tokens=settings.max_output_tokens),
        Middleware(BudgetMiddleware, ledger=services.ledger),
        Middleware(PromptLoggingMiddleware, prompts=services.prompt_log),
    ]
    return _through(steps, relay)


def account_chain(settings: Settings, services: Services, drain: Drain) -> ASGIApp:
    """The chain before the account: a known key, nothing else, since one looks at it when a limit has fired."""
    return _through(
        _first_steps(ACCOUNT, settings, services, drain), AccountPage(services.accounts, policy_of(settings))
    )


def _first_steps(endpoint: Endpoint, settings: Settings, services: Services, drain: Drain) -> list[Middleware]:
    return [
        Middleware(
            OpeningMiddleware,
            endpoint=endpoint,
            refusals=services.refusals,
            drain=drain,
            trusted_proxies=settings.proxy_networks,
            now=_utc_now,
        ),
        Middleware(
            AuthenticationMiddleware,
            authenticator=services.authenticator,
            uses=services.key_uses,
            new_id=uuid7,
            now=_utc_now,
        ),
    ]


def _through(steps: list[Middleware], end: ASGIApp) -> ASGIApp:
    chain = end
    for step in reversed(steps):
        chain = step.cls(chain, *step.args, **step.kwargs)
    return chain


def rules_of(settings: Settings, services: Services) -> RequestRules:
    return RequestRules(
        template_tokens=settings.prompt_template_tokens,
        image_tokens=settings.image_token_bound,
        max_depth=settings.max_json_depth,
        max_nodes=settings.max_json_nodes,
        policy=policy_of(settings),
        facts_of=services.model_knowledge.facts_of,
    )


def policy_of(settings: Settings) -> RequestPolicy:
    """What holds for keys that have no policy of their own."""
    return RequestPolicy(
        max_keep_alive_seconds=settings.max_keep_alive_s,
        max_num_ctx=settings.max_num_ctx,
        max_images=settings.max_images,
        max_embedding_inputs=settings.max_embedding_inputs,
        max_logprobs=settings.max_logprobs,
        allow_raw=settings.allow_raw,
        allow_context=settings.allow_context,
    )


def _utc_now() -> datetime:
    return datetime.now(UTC)
