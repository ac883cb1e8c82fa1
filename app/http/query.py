"""Query parameters that a route does not have, or that come twice, are refused, not ignored.

A client that asks for a dry run, or for a filter, and gets neither must not believe that it did.
"""

from collections import Counter
from collections.abc import Iterator

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from app.errors import FieldError, Invalid


async def refuse_unknown_query(request: Request) -> None:
    """Raises Invalid, naming the parameters. None of ours is a list: of two values, one would be ignored."""
    route = request.scope["route"]
    if not isinstance(route, APIRoute) or not request.query_params:
        return
    known = set(_parameters(route.dependant))
    given = Counter(name for name, _ in request.query_params.multi_items())
    faults = {name: "may be given once" for name, times in given.items() if times > 1}
    faults |= dict.fromkeys(given.keys() - known, "is no parameter of this call")
    if faults:
        raise Invalid(
            "The request is not valid; see errors.",
            errors=[FieldError(pointer=f"query/{name}", detail=detail) for name, detail in sorted(faults.items())],
        )


def _parameters(dependant: Dependant) -> Iterator[str]:
    yield from (parameter.alias for parameter in dependant.query_params)
    for dependency in dependant.dependencies:
        yield from _parameters(dependency)
