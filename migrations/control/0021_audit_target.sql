-- audit_target_time_idx answers what this one did; each index is a tenth of what a row of the trail costs.

DROP INDEX IF EXISTS bf_control.audit_target_idx;
