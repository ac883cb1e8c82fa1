"""GET /: a plain status page."""

from html import escape
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from app.db.readiness import Readiness
from app.http.auth import Public

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
    """Says whether this process serves; tells nobody about tenants."""
    readiness: Readiness = request.app.state.services.readiness
    status = "Ready" if readiness.ready else "Not ready yet; the log says what for"
    page = _PAGE.format(version=escape(request.app.version), status=escape(status))
    headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"}
    return HTMLResponse(page, headers=headers)
