"""What every process that ends operations must know of each kind."""

from typing import Final

from app.operations.model import Kind
from app.operations.rules import AllRules
from app.schema.handlers import DOWNGRADE_RULES, UPGRADE_RULES
from app.tenants.bulk_handler import CHANGE_RULES, DELETION_RULES
from app.tenants.handlers import PROVISION_RULES
from app.tenants.lifecycle_handlers import BACKUP_RULES, PURGE_RULES, RESTORE_RULES
from app.tenants.repair_handlers import FLEET_RULES, REPAIR_RULES

RULES: Final[AllRules] = {
    Kind.SCHEMA_UPGRADE: UPGRADE_RULES,
    Kind.SCHEMA_DOWNGRADE: DOWNGRADE_RULES,
    Kind.TENANT_PROVISION: PROVISION_RULES,
    Kind.TENANT_BACKUP: BACKUP_RULES,
    Kind.TENANT_PURGE: PURGE_RULES,
    Kind.TENANT_RESTORE: RESTORE_RULES,
    Kind.TENANTS_CHANGE: CHANGE_RULES,
    Kind.TENANT_REPAIR: REPAIR_RULES,
    Kind.FLEET_VERIFY: FLEET_RULES,
    Kind.FLEET_REPAIR: FLEET_RULES,
    Kind.TENANTS_DELETE: DELETION_RULES,
}
