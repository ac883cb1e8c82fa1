"""Until when the server's certificate is good."""

from datetime import datetime

from cryptography import x509

from app.db.pool import Connection


def valid_until(conn: Connection) -> datetime | None:
    """None of a connection without TLS. asyncpg has no public way to what its connection is made of."""
    transport = getattr(conn, "_transport", None)
    tls = None if transport is None else transport.get_extra_info("ssl_object")
    certificate = None if tls is None else tls.getpeercert(binary_form=True)
    return None if certificate is None else x509.load_der_x509_certificate(certificate).not_valid_after_utc
