"""Where the service is and who asks, from arguments or the environment."""

import os
from dataclasses import dataclass
from typing import Final

import httpx

from app.client._call import Deadline
from app.client.errors import ConfigurationError

# The service closes idle connections after 5 s: one about to be closed is not used again.
LIMITS: Final = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """In seconds: for one answer, without what it was asked to wait; for all tries of a call; for `wait=True`."""

    timeout: float
    retry_for: float
    wait_timeout: float

    def wait(self, wait: bool | float) -> Deadline | None:
        """None where the caller does not wait."""
        if wait is False:
            return None
        return Deadline.after(self.wait_timeout if wait is True else wait)


def base_url(given: str | None) -> str:
    url = given or os.environ.get("BF_API_URL")
    if not url:
        raise ConfigurationError("Say where the service is: base_url='http://HOST:PORT', or BF_API_URL.")
    if not url.startswith(("http://", "https://")):
        raise ConfigurationError("The URL of the service starts with http:// or https://.")
    return url


def headers(api_key: str | None) -> dict[str, str]:
    """A key that was read from a file ends in a newline; what no header can hold is refused, and not shown."""
    key = (api_key or os.environ.get("BF_API_KEY") or "").strip()
    if not key:
        return {}
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ConfigurationError("The API key holds characters that no key has.")
    return {"Authorization": f"Bearer {key}"}
