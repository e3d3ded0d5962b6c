"""What operators ask: alive, ready, counted."""

from collections.abc import Awaitable, Callable

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from neuronetz_gateway.http.readiness import Readiness
from neuronetz_gateway.observability.metrics import CONTENT_TYPE, Metrics

type Looks = Callable[[], Awaitable[object]]


def ops_router(readiness: Readiness, metrics: Metrics | None, looks: Looks) -> APIRouter:
    """The open pages; they tell nothing that is not for everybody's eyes. `looks` freshens the metrics for a scrape."""
    router = APIRouter()

    @router.api_route("/", methods=["GET", "HEAD"])
    async def root() -> PlainTextResponse:
        return PlainTextResponse("neuronetz-gateway is running")

    @router.get("/healthz")
    async def healthz() -> JSONResponse:
        return JSONResponse({"status": "ok"})

    @router.get("/readyz")
    async def readyz() -> JSONResponse:
        missing = await readiness.missing()
        return JSONResponse({"ready": not missing, "missing": missing}, status_code=503 if missing else 200)

    if metrics is not None:
        exposition = metrics.exposition

        @router.get("/metrics")
        async def metrics_page() -> Response:
            await looks()
            return Response(exposition(), media_type=CONTENT_TYPE)

    return router


def metrics_app(metrics: Metrics, looks: Looks) -> ASGIApp:
    """The metrics, for a listener of their own, on which there is nothing else (METRICS_PORT, PROMISES P2)."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await looks()
            await _answer_to(Request(scope), metrics)(scope, receive, send)

    return app


def _answer_to(request: Request, metrics: Metrics) -> Response:
    if request.scope["raw_path"] != b"/metrics":
        return PlainTextResponse("There is nothing here but /metrics.", status_code=404)
    if request.method not in {"GET", "HEAD"}:
        return PlainTextResponse("GET alone is answered.", status_code=405, headers={"allow": "GET, HEAD"})
    return Response(metrics.exposition(), media_type=CONTENT_TYPE)
