"""GET /: a plain status page."""

from html import escape
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from app.health import ready
from app.http.auth import Public
from app.http.dependencies import HttpServices

router = APIRouter(include_in_schema=False)

_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>APG Budgeting &amp; Forecasting: tenants</title>
<style>
:root {{ color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }}
body {{ margin: 4rem auto; max-width: 40rem; padding: 0 1rem; }}
dt {{ font-weight: 600; }} dd {{ margin: 0 0 .75rem; }}
</style>
</head>
<body>
<main>
<h1>Tenant control plane</h1>
<p>APG Budgeting &amp; Forecasting, version {version}</p>
<dl>
<dt>Status</dt><dd role="status">{status}</dd>
<dt>API</dt><dd><a href="/openapi.json">/openapi.json</a></dd>
<dt>Probes</dt><dd><a href="/livez">/livez</a>, <a href="/readyz">/readyz</a></dd>
</dl>
</main>
</body>
</html>
"""


@router.get("/", dependencies=[Public])
async def status_page(request: Request) -> HTMLResponse:
    """Says whether this process serves, by the checks of /readyz; tells nobody about tenants."""
    services: HttpServices = request.app.state.services
    found = await ready.of_process(services.readiness, services.database)
    failed = ", ".join(f"{name} ({check.reason})" for name, check in found.checks.items() if check.status == "fail")
    status = f"Not ready: {failed}; the log says more" if failed else "Ready"
    page = _PAGE.format(version=escape(request.app.version), status=escape(status))
    headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"}
    return HTMLResponse(page, headers=headers)
