"""Writes docs/authorization.md from what the routes declare: `make openapi`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from fastapi import FastAPI

from app.http.auth import RequireRole, api_routes, declaration
from app.main import create_app
from app.roles import Role
from app.settings import Settings

DOCUMENT: Final = Path(__file__).parents[1] / "docs/authorization.md"
_HEAD: Final = """\
# Who may call what

Written by `make openapi` from the routes' own declarations; a test holds it to them, and another calls every route
with every role. How a caller proves who it is: [authentication.md](authentication.md).

- `admin` includes `operator`, which includes `viewer`; `auditor`, `reader` and `metrics` stand alone.
- A caller of **one tenant** has its role on the paths that name that tenant. Another tenant is 404, to the byte as one
  that there is not; a call that is not about one tenant is 403.
- **yes**: for every caller with the role. **own**: for a caller of one tenant, on that tenant, and for nobody else.
  A dot: 403. The last column says whether a caller of one tenant gets anywhere at all.
- HEAD is as GET.

"""
_NO: Final = "·"


def generated() -> str:
    return _HEAD + "\n".join(_table(create_app(Settings()))) + "\n"


def _table(app: FastAPI) -> Iterator[str]:
    yield f"| call | {' | '.join(Role)} | of one tenant |"
    yield f"|---|{'---|' * len(Role)}---|"
    routes = [(route.path, method, declaration(route)) for route in api_routes(app) for method in route.methods or ()]
    for path, method, declared in sorted(routes, key=lambda route: route[:2]):
        cells = " | ".join(_cell(declared, role) for role in Role)
        yield f"| `{method} {path}` | {cells} | {_of_one_tenant(declared, path or '')} |"


def _cell(declared: RequireRole | None, role: Role) -> str:
    if declared is None or role.includes(declared.role):
        return "yes"
    return "own" if role is declared.own else _NO


def _of_one_tenant(declared: RequireRole | None, path: str) -> str:
    if declared is None:
        return "public"
    if declared.in_body:
        return "the one named in the body"
    return "on its own" if "{tenant_id}" in path else _NO


if __name__ == "__main__":
    DOCUMENT.write_text(generated())
