"""Query parameters that a route does not have are refused, not ignored.

A client that asks for a dry run, or for a filter, and gets neither must not believe that it did.
"""

from collections.abc import Iterator

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from app.errors import FieldError, Invalid


async def refuse_unknown_query(request: Request) -> None:
    """Raises Invalid, naming the parameters."""
    route = request.scope["route"]
    if not isinstance(route, APIRoute) or not request.query_params:
        return
    unknown = sorted(set(request.query_params) - set(_parameters(route.dependant)))
    if unknown:
        raise Invalid(
            "The request is not valid; see errors.",
            errors=[FieldError(pointer=f"query/{name}", detail="is no parameter of this call") for name in unknown],
        )


def _parameters(dependant: Dependant) -> Iterator[str]:
    yield from (parameter.alias for parameter in dependant.query_params)
    for dependency in dependant.dependencies:
        yield from _parameters(dependency)
