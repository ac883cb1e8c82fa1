"""Which failures are tried again, and when. Pure."""

import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from app.client._call import Call
from app.client.errors import ApiError, ConnectionFailed

_IN_FLIGHT: Final = "idempotency_key_in_flight"
_BASE: Final = 0.1
_CAP: Final = 5.0
# A service that asks for more is asked again sooner: an hour's pause would be no retry.
_LONGEST_RETRY_AFTER: Final = 30.0
_random: Final = random.SystemRandom()


def pause(call: Call, error: ApiError | ConnectionFailed, tries: int) -> float | None:
    """Seconds until the next try after `tries` of them; None where there is none.

    Full jitter, on top of what the service asks for: those who collided do not meet again.
    """
    if not _again(call, error):
        return None
    asked = error.retry_after if isinstance(error, ApiError) else None
    return min(asked or 0.0, _LONGEST_RETRY_AFTER) + backoff(tries)


def backoff(tries: int) -> float:
    return _random.uniform(0, min(_CAP, _BASE * 2**tries))


def _again(call: Call, error: ApiError | ConnectionFailed) -> bool:
    match error:
        case ConnectionFailed():
            return call.repeatable or not error.sent
        case ApiError(status=429):
            return True
        case ApiError(status=502 | 503 | 504):
            return call.repeatable
        case ApiError(status=409):
            return error.code == _IN_FLIGHT
    return False


def retry_after(value: str | None) -> float | None:
    """Seconds, from either form of the header (RFC 9110); None for what is neither."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
