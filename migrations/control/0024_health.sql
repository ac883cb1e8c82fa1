-- What /health is told by workers: that they live, and which tenants use more than they may. Only adds: workers of the
-- release before are not in the list.

-- Who died with the server says so again: nothing of it need survive a crash.
CREATE UNLOGGED TABLE bf_control.worker (
    id uuid NOT NULL CONSTRAINT worker_pkey PRIMARY KEY,
    host text NOT NULL,
    process_id integer NOT NULL,
    release text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    heartbeat_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);

COMMENT ON TABLE bf_control.worker IS 'Workers that were heard of; one that ends in order takes its row away';

CREATE TABLE bf_control.limit_excess (
    tenant_id varchar(36) COLLATE "C" NOT NULL,
    limit_name text COLLATE "C" NOT NULL,
    used bigint NOT NULL,
    allowed bigint NOT NULL,
    noticed_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT limit_excess_pkey PRIMARY KEY (tenant_id, limit_name)
);

COMMENT ON TABLE bf_control.limit_excess IS 'Where a tenant uses more than its limit, as of the last round';

CREATE TABLE bf_control.limit_round (
    only_one boolean NOT NULL DEFAULT true CONSTRAINT limit_round_pkey PRIMARY KEY
        CONSTRAINT limit_round_only_one_check CHECK (only_one),
    claimed_at timestamptz,
    ended_at timestamptz
);

COMMENT ON COLUMN bf_control.limit_round.claimed_at IS 'When a worker began to look: the others leave it to that one';

INSERT INTO bf_control.limit_round DEFAULT VALUES;

-- Keys that are about to expire are looked for all the time.
CREATE INDEX api_key_expires_at_idx ON bf_control.api_key (expires_at) WHERE expires_at IS NOT NULL;
