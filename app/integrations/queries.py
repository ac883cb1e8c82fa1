"""SQL of integrations and of their secrets."""

from typing import Any

from asyncpg import Record

from app.db.pool import Connection
from app.integrations.model import SetCredential
from app.keyring import Sealed
from app.registry.model import SealedSecret

# $2 is one capability, or NULL for all; a tenant without configuration has none.
_STORED = """
SELECT i.key AS capability, i.value AS stored
  FROM jsonb_each(coalesce(bf_control.tenant_settings($1) -> 'apg_integrations', '{}')) AS i
 WHERE $2::text IS NULL OR i.key = $2 ORDER BY i.key
"""
_CREDENTIALS = """
SELECT capability, name, set_at, set_by FROM bf_control.integration_secret
 WHERE tenant_id = $1 AND ($2::text IS NULL OR capability = $2) ORDER BY capability, name
"""
# With the context, what the history of tenant_config says of the change. NULL takes the capability away.
_SET = """
SELECT bf_control.set_integration($1, $2, $3)
  FROM (SELECT set_config('bf.source', 'api', true), set_config('app.current_user_id', left($4, 36), true)) AS context
"""
_SEALED = """
SELECT name, key_id, ciphertext FROM bf_control.integration_secret
 WHERE tenant_id = $1 AND capability = $2 AND name = ANY ($3::text[]) ORDER BY name FOR UPDATE
"""
_KEEP = """
INSERT INTO bf_control.integration_secret AS s (tenant_id, capability, name, key_id, ciphertext, set_by)
VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (tenant_id, capability, name) DO UPDATE
   SET key_id = EXCLUDED.key_id, ciphertext = EXCLUDED.ciphertext, set_by = EXCLUDED.set_by, set_at = now()
"""
_FORGET_SECRETS = """
DELETE FROM bf_control.integration_secret
 WHERE tenant_id = $1 AND capability = $2 AND ($3::text[] IS NULL OR name = ANY ($3))
"""
# $1 to $3 is the last one of the batch before.
_BATCH = """
SELECT tenant_id, capability, name, key_id, ciphertext FROM bf_control.integration_secret
 WHERE (tenant_id, capability, name) > ($1, $2, $3)
 ORDER BY tenant_id, capability, name LIMIT $4 FOR UPDATE
"""
_COUNT = "SELECT count(*) FROM bf_control.integration_secret"
# Not set_at: it is the age of the secret, not of its encryption.
_REPLACE = """
UPDATE bf_control.integration_secret SET key_id = $4, ciphertext = $5
 WHERE tenant_id = $1 AND capability = $2 AND name = $3
"""


async def stored(conn: Connection, tenant_id: str, capability: str | None = None) -> dict[str, Any]:
    """Documents by capability; not before the shared schema is installed."""
    return {row["capability"]: row["stored"] for row in await conn.fetch(_STORED, tenant_id, capability)}


async def credentials(
    conn: Connection, tenant_id: str, capability: str | None = None
) -> dict[str, tuple[SetCredential, ...]]:
    """What is set, by capability."""
    found: dict[str, tuple[SetCredential, ...]] = {}
    for row in await conn.fetch(_CREDENTIALS, tenant_id, capability):
        one = SetCredential(name=row["name"], set_at=row["set_at"], set_by=row["set_by"])
        found[row["capability"]] = (*found.get(row["capability"], ()), one)
    return found


async def store(
    conn: Connection, tenant_id: str, capability: str, settings: dict[str, Any] | None, *, actor: str
) -> None:
    """None takes the capability away."""
    await conn.execute(_SET, tenant_id, capability, settings, actor)


async def sealed(conn: Connection, tenant_id: str, capability: str, names: list[str]) -> dict[str, Sealed]:
    """Those of the `names` that are set; they stay locked until the transaction ends."""
    rows = await conn.fetch(_SEALED, tenant_id, capability, names)
    return {row["name"]: Sealed(key_id=row["key_id"], ciphertext=row["ciphertext"]) for row in rows}


async def keep_secret(conn: Connection, tenant_id: str, secret: SealedSecret, *, actor: str) -> None:
    sealed = secret.sealed
    await conn.execute(_KEEP, tenant_id, secret.capability, secret.name, sealed.key_id, sealed.ciphertext, actor)


async def forget_secrets(conn: Connection, tenant_id: str, capability: str, names: list[str] | None = None) -> None:
    """The `names`, or all of the capability."""
    await conn.execute(_FORGET_SECRETS, tenant_id, capability, names)


async def count(conn: Connection) -> int:
    number: int = await conn.fetchval(_COUNT)
    return number


async def batch(
    conn: Connection, after: tuple[str, str, str], *, limit: int
) -> list[tuple[tuple[str, str, str], Sealed]]:
    """Secrets of all tenants beyond `after`, by tenant, capability and name; locked until the transaction ends."""
    rows = await conn.fetch(_BATCH, *after, limit)
    return [(_place(row), Sealed(key_id=row["key_id"], ciphertext=row["ciphertext"])) for row in rows]


def _place(row: Record) -> tuple[str, str, str]:
    return row["tenant_id"], row["capability"], row["name"]


async def replace(conn: Connection, place: tuple[str, str, str], sealed: Sealed) -> None:
    await conn.execute(_REPLACE, *place, sealed.key_id, sealed.ciphertext)
