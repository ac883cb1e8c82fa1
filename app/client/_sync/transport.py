"""Sends calls over one pool of connections, and again where that is safe."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import httpx

from app.client import _policy
from app.client._answer import api_error, no_answer
from app.client._call import Call, Deadline
from app.client._config import Times
from app.client.errors import ApiError, ConnectionFailed

# A stream on which nothing comes for so many seconds, not even a comment, is taken for lost.
_SILENCE: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Transport:
    """`headers` go with every request, beside those of the pool."""

    http: httpx.Client = field(repr=False)
    times: Times
    headers: Mapping[str, str] = field(default_factory=dict)

    def send(self, call: Call, *, until: Deadline | None = None) -> httpx.Response:
        """A success. No try begins after `until`, by default `retry_for` seconds from now.

        Raises ApiError or ConnectionFailed, the last try's.
        """
        limit = until or self._limit(call)
        tries = 0
        while True:
            tries += 1
            try:
                response = self.once(call)
                if response.is_success:
                    return response
                raise api_error(response)
            except (ApiError, ConnectionFailed) as error:
                error.idempotency_key = call.idempotency_key
                if isinstance(error, ApiError):
                    error.tries = tries
                pause = _policy.pause(call, error, tries)
                if pause is None or pause > limit.left:
                    raise
            time.sleep(pause)

    def once(self, call: Call) -> httpx.Response:
        """Whatever is answered to one try. Raises ConnectionFailed, or ConfigurationError for what HTTP cannot say."""
        wait = call.preferred_wait
        try:
            return self.http.request(
                call.method,
                call.path,
                params=call.params,
                content=call.content,
                headers={**self.headers, **call.headers, **({"Prefer": f"wait={wait}"} if wait else {})},
                timeout=httpx.Timeout(self.times.timeout, read=self.times.timeout + wait),
            )
        except httpx.TransportError as error:
            raise no_answer(error, self.http.base_url) from None

    @contextmanager
    def stream(self, call: Call) -> Iterator[httpx.Response]:
        """One try. What breaks inside the block because the connection does is ConnectionFailed too."""
        timeout = httpx.Timeout(self.times.timeout, read=_SILENCE)
        headers = {**self.headers, **call.headers}
        try:
            with self.http.stream(call.method, call.path, headers=headers, timeout=timeout) as response:
                if not response.is_success:
                    response.read()
                    raise api_error(response)
                yield response
        except httpx.TransportError as error:
            raise no_answer(error, self.http.base_url) from None

    def _limit(self, call: Call) -> Deadline:
        retry = Deadline.after(self.times.retry_for)
        return retry if call.wait is None else min(retry, call.wait, key=lambda deadline: deadline.at)
