"""Where the SQL files are, and what the settings make of them."""

from functools import cache
from pathlib import Path

from app.schema import script
from app.schema.script import Migration, Target
from app.settings import Settings


def root() -> Path:
    """The migrations directory: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    packaged = package / "migrations"
    return packaged if packaged.is_dir() else package.parent / "migrations"


@cache
def migrations() -> tuple[Migration, ...]:
    """This release's files. Raises MigrationFileError where they are not in order."""
    return script.load(root())


def target(settings: Settings) -> Target:
    return Target(
        shared_schema=settings.schema_name,
        app_role=settings.app_role,
        audit_role=settings.audit_role,
        create_roles=settings.create_roles,
        insert_default_data=settings.insert_default_data,
        enable_rls=settings.enable_rls,
        tenant_roles=settings.tenant_roles,
    )
