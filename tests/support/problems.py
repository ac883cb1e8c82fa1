"""What every failure over HTTP must look like."""

from typing import Any
from urllib.parse import unquote

import httpx

# What would tell a client about the insides: SQL, a DSN, a stack trace, a password, an API key.
_INSIDES = ("SELECT ", "INSERT ", "postgresql://", "Traceback", "asyncpg", "bf_control.", 'File "', "bfk_")


def problem(response: httpx.Response, status: int, code: str | None = None) -> dict[str, Any]:
    """Asserts that the answer is a problem of RFC 9457 with our members, and returns it."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["status"] == status
    assert {"type", "title", "detail", "instance", "code", "request_id"} <= body.keys()
    assert body["request_id"] == response.headers["x-request-id"]
    assert unquote(body["instance"]) == response.request.url.path
    assert not [word for word in _INSIDES if word in response.text]
    if code is not None:
        assert body["code"] == code, body
    if status == 503:
        assert 1 <= int(response.headers["retry-after"]) <= 60
    if status == 401:
        assert response.headers["www-authenticate"].startswith("Bearer")
    return body
