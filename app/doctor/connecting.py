"""Why there is no connection, for people, and what mends it.

There is nobody to ask for quoting yet: names go through the two helpers of script.py. Messages may be in the
server's language, so SQLSTATEs decide, and names and file names within a message where those leave it open.
"""

import errno
import re
import shlex
import socket
import ssl
from typing import Final

from app.doctor.address import Address
from app.doctor.model import Finding, Look, failed
from app.errors import AppError
from app.schema.script import quote_ident

_CLIENT: Final = re.compile(r'"([0-9a-fA-F.:]+)"')
_WHO: Final = Look("SELECT usename, application_name, count(*) FROM pg_stat_activity GROUP BY 1, 2 ORDER BY 3 DESC;")
ENCRYPT: Final = ("ALTER SYSTEM SET ssl = on;", "SELECT pg_reload_conf();")


def no_connection(error: AppError, address: Address) -> Finding:
    """`error` as Database.connection() raised it: its cause is the driver's."""
    cause = error.__cause__ or error
    sqlstate = str(getattr(cause, "sqlstate", None) or "")
    if sqlstate:
        reason, *mend = _refused(sqlstate, str(cause), address)
    else:
        reason, *mend = _unreached(cause, address)
    return failed(f"{address.variable}: {address}", reason, *mend)


def _unreached(cause: BaseException, address: Address) -> tuple[str, ...]:
    """No server said anything."""
    if isinstance(cause, socket.gaierror):
        lines = (Look(f"getent hosts {shlex.quote(host)}") for host, _ in address.hosts)
        return f"DNS does not know the host ({cause.strerror}): correct its name in {address.variable}", *lines
    if isinstance(cause, TimeoutError):
        return "nothing answered in time: a firewall, or another host", address.is_ready()
    if isinstance(cause, ssl.SSLError):
        why = f"TLS failed ({cause}): sslrootcert has to name the authority that signed the server's certificate"
        return why, address.with_authorities()
    if isinstance(cause, ValueError):  # what the URL names on this machine, sslrootcert above all
        return str(cause).partition("\n")[0], address.with_authorities()
    if isinstance(cause, ConnectionError) and address.encrypted and "SSL" in str(cause):
        why = f"sslmode={address.sslmode}, and the server has no TLS: give it server.crt and server.key, and turn it on"
        return why, *ENCRYPT
    if isinstance(cause, OSError) and _nobody_listens(cause, address):
        return "connection refused: no server listens there; start it, or correct host and port", address.is_ready()
    if isinstance(cause, FileNotFoundError):
        return "a file that the URL names is not there: sslrootcert, sslcert or sslkey", address.with_authorities()
    return f"{type(cause).__name__}: {cause}".partition("\n")[0], address.is_ready()


def _nobody_listens(cause: OSError, address: Address) -> bool:
    """A host with several addresses fails with all their errors in one text. A file that is not there is a
    socket's only where the URL names a directory of sockets: else it is sslrootcert's.
    """
    if cause.errno == errno.ENOENT:
        return address.hosts[0][0].startswith("/") or not address.host
    return cause.errno == errno.ECONNREFUSED or f"[Errno {errno.ECONNREFUSED}]" in str(cause)


def _refused(sqlstate: str, message: str, address: Address) -> tuple[str, ...]:
    """The server said no."""
    user, database = quote_ident(address.user or "user"), quote_ident(address.database or address.user or "database")
    match sqlstate:
        case "28P01":
            why = f"{message}: a wrong password, or no such role (CREATE ROLE, then); it tells nobody which"
            return why, f"ALTER ROLE {user} LOGIN PASSWORD '<the password in {address.variable}>';"
        case "28000" if "pg_hba" in message:
            client = _CLIENT.search(message)
            network = f"{client[1]}/{128 if ':' in client[1] else 32}" if client else "samenet"
            line = f"host {database} {user} {network} scram-sha-256"
            append = f'echo {shlex.quote(line)} >> "$(psql -XAtc "SHOW hba_file")"'
            return message, append, 'psql -Xc "SELECT pg_reload_conf()"'
        case "28000":
            return message, f"ALTER ROLE {user} LOGIN;"
        case "3D000":
            return message, f"CREATE DATABASE {database} OWNER {user};"
        case "42501":
            return message, f"GRANT CONNECT ON DATABASE {database} TO {user};"
        case "55000":
            return message, f"ALTER DATABASE {database} ALLOW_CONNECTIONS true;"
        case "53300":
            return _full(message, address, user, database)
        case "57P03":
            return f"{message}: wait until it has started", address.is_ready()
        case "08P01":
            return f"{message}: a pooler that does not know what the service asks for", address.is_ready()
    return f"{message} (SQLSTATE {sqlstate})", address.is_ready()


def _full(message: str, address: Address, user: str, database: str) -> tuple[str, ...]:
    """Whose limit it is shows by the name that is quoted, in whatever language."""
    if f'"{address.user}"' in message:
        return message, f"ALTER ROLE {user} CONNECTION LIMIT -1;"
    if f'"{address.database}"' in message:
        return message, f"ALTER DATABASE {database} CONNECTION LIMIT -1;"
    return f"{message}: end what need not be there, or raise max_connections", _WHO
