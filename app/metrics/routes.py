"""GET /metrics"""

from collections.abc import Mapping
from typing import Protocol

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.db.pool import Database
from app.http.auth import CurrentMetrics
from app.http.dependencies import problems
from app.metrics.exposition import Exposition
from app.metrics.service import FleetFigures

router = APIRouter(tags=["health"])


class _Services(Protocol):
    """`pools` are those of this process, by what they are for."""

    figures: FleetFigures
    exposition: Exposition
    pools: Mapping[str, Database]


@router.get(
    "/metrics",
    summary="Figures for Prometheus",
    response_class=Response,
    responses={
        200: {
            "description": "The text format of Prometheus, or OpenMetrics for who accepts it",
            "content": {"text/plain": {"schema": {"type": "string"}, "example": "bf_database_up 1.0\n"}},
        },
        **problems(422),
    },
)
async def get_metrics(request: Request, _: CurrentMetrics) -> Response:
    """Of this process, and of the database, which every process tells alike: docs/metrics.md. Where the database does
    not answer, `bf_database_up` is 0.
    """
    services: _Services = request.app.state.services
    figures = await services.figures.read()
    body, media_type = services.exposition.render(figures, services.pools, accept=request.headers.get("accept", ""))
    return Response(body, headers={"Content-Type": media_type})
