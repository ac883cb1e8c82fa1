"""What is hashed of a row: canonical JSON (RFC 8785), SHA-256. Pure.

Every member is a string, null or an integer below 2^53, and every name is ASCII: there, RFC 8785 is what json.dumps()
writes with sorted names. `before` and `after` are the text that PostgreSQL prints for the jsonb: a number in them may
be one that no double holds, and RFC 8785 would round it.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

GENESIS: Final = bytes(32)
# As queries.SEALED selects them.
MEMBERS: Final = (
    "id",
    "occurred_at",
    "actor",
    "role",
    "database_user",
    "source_address",
    "request_id",
    "action",
    "target",
    "outcome",
    "before",
    "after",
    "xid",
)


def canonical(document: Mapping[str, Any]) -> bytes:
    """Of a document with members as above."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def link(previous: bytes, seq: int, row: Mapping[str, Any]) -> bytes:
    """The hash of a row at its place in the chain; `row` has MEMBERS."""
    document = {name: row[name] for name in MEMBERS}
    return hashlib.sha256(canonical({**document, "seq": seq, "prev": previous.hex()})).digest()
