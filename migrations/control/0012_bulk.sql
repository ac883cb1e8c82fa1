-- Changes of many tenants by one operation. Only adds: processes of the release before go on beside it.

-- Which tenants an operation is to change, and what became of each. Fixed when it is asked for: what fits its filter
-- later is not changed, and who takes the work over knows what is left.
CREATE TABLE bf_control.change_target (
    operation_id uuid NOT NULL,
    tenant_id varchar(36) COLLATE "C" NOT NULL,
    status text NOT NULL DEFAULT 'pending' CONSTRAINT change_target_status_check
        CHECK (status IN ('pending', 'changed', 'unchanged', 'refused')),
    problem jsonb,
    CONSTRAINT change_target_pkey PRIMARY KEY (operation_id, tenant_id),
    CONSTRAINT change_target_operation_fkey FOREIGN KEY (operation_id)
        REFERENCES bf_control.operation (id) ON DELETE CASCADE,
    CONSTRAINT change_target_problem_check CHECK ((problem IS NOT NULL) = (status = 'refused'))
);
