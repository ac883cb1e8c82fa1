-- Who asked for an operation, to its end: what its work leaves in the audit trail says role and address too. Only adds:
-- processes of the release before leave both empty.

ALTER TABLE bf_control.operation
    ADD COLUMN role text,
    ADD COLUMN source_address text;

COMMENT ON COLUMN bf_control.operation.role IS 'The role that whoever asked for it had; none of the command line';
COMMENT ON COLUMN bf_control.operation.source_address IS 'Where the request came from';
