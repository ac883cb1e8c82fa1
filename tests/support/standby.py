"""A standby of a test's server, made by pg_basebackup."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from app.db.embedded import EmbeddedServer, _Account
from tests.support import memory
from tests.support.cluster import Cluster, binaries_under_test


@contextmanager
def standby_of(cluster: Cluster, directory: Path) -> Iterator[EmbeddedServer]:
    """Follows the cluster until the block ends; then its data goes. `directory` is new."""
    directory.mkdir(mode=0o700)
    account = _Account.choose()
    binaries = account.reachable(binaries_under_test())
    clusters = memory.roots_place() / "clusters" if account.switch else directory
    data = Path(mkdtemp(dir=clusters, prefix="cluster-"))
    os.chown(data, account.uid, account.gid)
    made = account.run(
        binaries.bin_dir / "pg_basebackup",
        *("-D", data, "-d", cluster.superuser_dsn("postgres"), "-R", "--checkpoint=fast", "--no-sync"),
    )
    assert made.returncode == 0, made.stdout
    (directory / "postgres").symlink_to(data)
    shutil.copy(cluster.server.data_dir / "superuser-password", directory)
    server = EmbeddedServer(
        directory,
        binaries=binaries_under_test(),
        settings={"fsync": "off", "cluster_name": f"standby-{secrets.token_hex(3)}"},
        roots_place=memory.roots_place(),
    )
    try:
        server.start()
        yield server
    finally:
        server.destroy()
