"""What a check is given."""

from dataclasses import dataclass

from app.db.pool import Connection
from app.doctor.address import Address
from app.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The connection that DDL takes, and how it is reached."""

    conn: Connection
    settings: Settings
    address: Address
