-- Plans of destruction: what would be lost, and the token that confirms it. Only adds: processes of the release before
-- go on with bf_control.confirmation, and take none of these for theirs.

CREATE TABLE bf_control.plan (
    id uuid NOT NULL CONSTRAINT plan_pkey PRIMARY KEY,
    token_hash bytea NOT NULL CONSTRAINT plan_token_hash_key UNIQUE,
    action text NOT NULL,
    target text NOT NULL,
    actor text NOT NULL,
    digest bytea NOT NULL,
    document jsonb NOT NULL,
    needs_approval boolean NOT NULL,
    approved_by text,
    approved_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    used_at timestamptz,
    CONSTRAINT plan_approval_check CHECK ((approved_by IS NULL) = (approved_at IS NULL)),
    CONSTRAINT plan_approver_check CHECK (approved_by <> actor)
);
CREATE INDEX plan_actor_idx ON bf_control.plan (actor, expires_at);
CREATE INDEX plan_expires_at_idx ON bf_control.plan (expires_at);

COMMENT ON TABLE bf_control.plan IS
    'What somebody must repeat to be believed: its token is kept as a hash, and is good once, until expires_at';
