#!/usr/bin/env python3
"""The guide's command line, word for word; what it does is bf-admin's.

python run_migration.py --action upgrade
python run_migration.py --action create-tenant --tenant-id acme_corp --tenant-name "ACME Corporation"
python run_migration.py --action list-tenants
python run_migration.py --action downgrade --confirm-destroy
"""

import argparse
import sys
from collections.abc import Sequence

ACTIONS = ("upgrade", "create-tenant", "list-tenants", "downgrade")


def arguments(given: Sequence[str]) -> list[str]:
    """The arguments of bf-admin that do the same. Ends with exit code 2 for what neither takes."""
    parser = argparse.ArgumentParser(description="Runs migrations and creates tenants, as the guide describes.")
    parser.add_argument("--action", required=True, choices=ACTIONS)
    parser.add_argument("--tenant-id", help="for create-tenant")
    parser.add_argument("--tenant-name", help="for create-tenant")
    parser.add_argument("--created-by", help="for create-tenant; by default who you are here")
    parser.add_argument("--confirm-destroy", action="store_true", help="for downgrade: really destroy all data")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    wanted = parser.parse_args(given)
    if wanted.action == "create-tenant" and not (wanted.tenant_id and wanted.tenant_name):
        parser.error("--action create-tenant needs --tenant-id and --tenant-name")
    mapped = [wanted.action]
    if wanted.action == "create-tenant":
        mapped += ["--tenant-id", wanted.tenant_id, "--tenant-name", wanted.tenant_name]
        mapped += ["--created-by", wanted.created_by] if wanted.created_by else []
    if wanted.action == "downgrade" and wanted.confirm_destroy:
        mapped.append("--confirm-destroy")
    if wanted.json:
        mapped.append("--json")
    return mapped


def main() -> None:
    given = arguments(sys.argv[1:])
    try:
        from app.__main__ import main as bf_admin
    except ImportError as error:
        sys.exit(f"run_migration.py: {error}. Install the package first: pip install apg-bf-tenant-admin")
    sys.argv = ["bf-admin", *given]
    bf_admin()


if __name__ == "__main__":
    main()
