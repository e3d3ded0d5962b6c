"""What operators ask: alive, ready, counted."""

from fastapi import APIRouter
from starlette.responses import JSONResponse, PlainTextResponse, Response

from neuronetz_gateway.http.readiness import Readiness
from neuronetz_gateway.observability.metrics import CONTENT_TYPE, Metrics


def ops_router(readiness: Readiness, metrics: Metrics | None) -> APIRouter:
    """The open pages; they tell nothing that is not for everybody's eyes."""
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
            return Response(exposition(), media_type=CONTENT_TYPE)

    return router
