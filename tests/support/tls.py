"""A server that can do TLS, which the embedded one cannot, and its certificate."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from app.db.embedded import Binaries
from tests.support.cluster import Cluster, binaries_under_test

_DEBIAN = Path("/usr/lib/postgresql")


def binaries() -> Binaries:
    """Those of the server under test, or Debian's where that is a build without. Raises RuntimeError."""
    chosen = next((found for found in _installations() if _knows_tls(found)), None)
    if chosen is None:
        raise RuntimeError("No PostgreSQL with TLS is here, and these tests are of it: apt-get install postgresql")
    return chosen


def _installations() -> Iterator[Binaries]:
    yield binaries_under_test()
    for path in sorted(_DEBIAN.glob("*/bin/initdb"), reverse=True):
        yield Binaries.at(path.parent)


def _knows_tls(binaries: Binaries) -> bool:
    """Builds that come without pg_config, as npm's do, come without TLS."""
    asked = [binaries.bin_dir / "pg_config", "--configure"]
    return asked[0].exists() and "openssl" in subprocess.run(asked, check=True, capture_output=True, text=True).stdout


def certify(own: Cluster, *, days: int = 2) -> Path:
    """server.crt and server.key of one's own in the data directory; returns the certificate."""
    cluster = (own.server.data_dir / "postgres").resolve()
    key, certificate = cluster / "server.key", cluster / "server.crt"
    subprocess.run(
        ["openssl", "req", "-new", "-x509", "-nodes", "-days", str(days), "-subj", "/CN=doctor", "-keyout", key,
         "-addext", "subjectAltName=IP:0.0.0.0", "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    for path in (key, certificate):
        os.chown(path, cluster.stat().st_uid, cluster.stat().st_gid)
    key.chmod(0o600)
    return certificate
