"""python -m bench NAME [options]: measures for people to read, whose figures go into bench/RESULTS.md.

    audit        a change with its row in the audit trail against without; sealing; pages
    provision    POST against setup_tenant() one by one, the 1,000th tenant against the 100th, `bf-admin up`
    throughput   CPU of the whole system for a tenant, many at once, against setup_tenant()
    authentication  CPU that a key or a token adds to a request
    health       /health against a bare route that returns the same bytes; pollers among 1,000 tenants
    idle         queries of processes that nobody talks to
    collection   CPU of a full collection, its longest transaction, both as tenants grow
    config_read  GET of a tenant's configuration against a bare route that selects the same row
    limits       bulk and single INSERTs, and provisioning, against tables whose rows nobody counts
    ofrep        OFREP's 304 against a bare route behind the same middleware and authentication
    lists        pages of tenants out of 100,000 against out of 1,000, with each filter and order
    tenant_roles provisioning and queries with a role for each tenant against without; the isolation check
    verify       verifying one tenant among 10 and among 1,000
    middleware   CPU that ids, log line, limits of use and figures add to a request
    process      seconds until `bf-admin serve` is ready; memory of api and worker

Each has --help, --quick for a smoke run, and --json. Figures never decide on the exit status: that tells
whether the run came to its end.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Final

from bench import (
    audit,
    authentication,
    collection,
    config_read,
    health,
    idle,
    limits,
    lists,
    middleware,
    ofrep,
    page,
    process,
    provision,
    tenant_roles,
    throughput,
    verify,
)

MEASURES: Final[dict[str, Callable[[Sequence[str]], None]]] = {
    "audit": audit.main,
    "authentication": authentication.main,
    "provision": provision.main,
    "throughput": throughput.main,
    "health": health.main,
    "idle": idle.main,
    "collection": collection.main,
    "config_read": config_read.main,
    "limits": limits.main,
    "ofrep": ofrep.main,
    "lists": lists.main,
    "page": page.main,
    "tenant_roles": tenant_roles.main,
    "verify": verify.main,
    "middleware": middleware.main,
    "process": process.main,
}


def main() -> None:
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in MEASURES:
        MEASURES[name](arguments)
    else:
        print(__doc__)
        sys.exit(0 if name in ("-h", "--help") else 2)


if __name__ == "__main__":
    main()
