"""What can go wrong with a backup. Each names the mend."""

from app.errors import AppError, Conflict, NotFound, Unavailable


class BackupUnavailable(Unavailable):
    """Before anything is stored: what a backup needs is not there."""

    code = "backup_unavailable"
    title = "No backup can be made"
    retry_after = 60


class BackupFailed(AppError):
    """Of an operation: trying the same again would fail again."""

    code = "backup_failed"
    title = "The backup could not be made"


class RestoreFailed(AppError):
    """Of an operation, which has left nothing."""

    code = "restore_failed"
    title = "The tenant could not be restored"


class BackupNotFound(NotFound):
    code = "backup_not_found"
    title = "There is no such backup"


class SchemaInTheWay(Conflict):
    code = "schema_exists"
    title = "A schema of that name exists"
