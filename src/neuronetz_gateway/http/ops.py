"""What operators ask: alive, ready, counted."""

from collections.abc import Awaitable, Callable, Mapping

from fastapi import APIRouter
from starlette.responses import JSONResponse, PlainTextResponse, Response

from neuronetz_gateway.observability.metrics import CONTENT_TYPE, Metrics

type Checks = Mapping[str, Callable[[], Awaitable[str | None]]]


def ops_router(checks: Checks, metrics: Metrics | None) -> APIRouter:
    """The open pages; a check returns None when its dependency answers, else what is wrong in a few plain words."""
    router = APIRouter()

    @router.api_route("/", methods=["GET", "HEAD"])
    async def root() -> PlainTextResponse:
        return PlainTextResponse("neuronetz-gateway is running")

    @router.get("/healthz")
    async def healthz() -> JSONResponse:
        return JSONResponse({"status": "ok"})

    @router.get("/readyz")
    async def readyz() -> JSONResponse:
        missing = {name: problem for name, check in checks.items() if (problem := await check()) is not None}
        status = 503 if missing else 200
        return JSONResponse({"ready": not missing, "missing": missing}, status_code=status)

    if metrics is not None:
        exposition = metrics.exposition

        @router.get("/metrics")
        async def metrics_page() -> Response:
            return Response(exposition(), media_type=CONTENT_TYPE)

    return router
