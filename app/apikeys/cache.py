"""The API keys that this process has verified, for as long as nobody says that they changed."""

import asyncio
import hashlib
import hmac
import math
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from app.apikeys import queries
from app.apikeys.model import ApiKey
from app.apikeys.service import PREFIX, Keys, not_valid, parts_of
from app.apikeys.use import KeyUse
from app.db.listener import Listener
from app.db.pool import Database

CHANNEL: Final = "bf_api_key"
# Seconds after which a revocation holds in any case: a notification can be lost with its connection.
MAX_AGE: Final = 5.0
# Seconds for which a key that was good is remembered while the database is away, for those calls that outlast it.
OUTAGE: Final = 86_400.0
# Keys; those that were not asked for longest go first.
_MOST: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """`proof` is of the secret. Moments of the loop's clock: `until` when it is believed, and `remembered` where nobody
    can be asked.
    """

    key: ApiKey
    proof: bytes
    until: float
    remembered: float


class KeyCache:
    """Verifies keys, the known ones without the database. Of a key it keeps the row, and of its secret a hash under a
    key that this process alone has, with which what is presented is compared each time.

    That hash is BLAKE2, which Python has itself: the HMAC of the row, OpenSSL's, takes eight times as long in the
    midst of a request (bench/authentication.py), most of it to look up the algorithm.
    """

    def __init__(
        self, keys: Keys, database: Database, direct_dsn: str, *, use: KeyUse, max_age: float = MAX_AGE
    ) -> None:
        self._keys = keys
        self._database = database
        self._use = use
        self._max_age = max_age
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._own = secrets.token_bytes(32)
        self._changes = 0
        self._started = False
        self._listener = Listener(direct_dsn, channel=CHANNEL, deliver=self._forget, resumed=self._forget_all)

    async def stop(self) -> None:
        await self._listener.stop()

    def holds(self, presented: str) -> bool:
        """Whether verify() can say without the database whether the key is good."""
        kept = self._kept.get(presented.partition(".")[0].removeprefix(PREFIX))
        return kept is not None and asyncio.get_running_loop().time() < kept.until

    async def verify(self, presented: str) -> ApiKey:
        """Raises InvalidCredentials, with the same words whatever is wrong with the key."""
        key_id, secret = parts_of(presented)
        now = asyncio.get_running_loop().time()
        kept = self._kept.get(key_id)
        if kept is None or now >= kept.until:
            key = await self._read(key_id, secret, now)
        elif self._proves(kept, secret):
            key = kept.key
        else:
            raise not_valid()
        self._use.note(key_id, now)
        return key

    def remembered(self, presented: str) -> ApiKey | None:
        """The key, if it was good when the database was last asked, less than a day ago, and has not ended since."""
        key_id, secret = parts_of(presented)
        kept = self._kept.get(key_id)
        if kept is None or asyncio.get_running_loop().time() >= kept.remembered:
            return None
        return kept.key if self._proves(kept, secret) else None

    def _proof(self, secret: str) -> bytes:
        return hashlib.blake2b(secret.encode(), key=self._own, digest_size=32).digest()

    def _proves(self, kept: _Kept, secret: str) -> bool:
        """In constant time."""
        return hmac.compare_digest(kept.proof, self._proof(secret))

    async def _read(self, key_id: str, secret: str, now: float) -> ApiKey:
        self._listen()
        changes = self._changes
        async with self._database.connection() as conn:
            key = await queries.get(conn, key_id)
        if key is None or not key.usable:
            self._kept.pop(key_id, None)
            raise not_valid()
        if not self._keys.is_secret_of(key, secret):
            raise not_valid()
        # What was notified meanwhile may be about what was just read, and will not be said again.
        if self._changes == changes:
            left = math.inf if key.seconds_left is None else key.seconds_left
            until, remembered = now + min(self._max_age, left), now + min(OUTAGE, left)
            self._keep(_Kept(key=key, proof=self._proof(secret), until=until, remembered=remembered))
        return key

    def _listen(self) -> None:
        """From the first question on: a process that nobody asks has no connection for it."""
        if not self._started:
            self._started = True
            self._listener.start()

    def _keep(self, kept: _Kept) -> None:
        self._kept[kept.key.id] = kept
        self._kept.move_to_end(kept.key.id)
        while len(self._kept) > _MOST:
            self._kept.popitem(last=False)

    def _forget(self, key_id: str) -> None:
        self._changes += 1
        self._kept.pop(key_id, None)

    def _forget_all(self) -> None:
        self._changes += 1
        self._kept.clear()
