-- What collectors have seen of tenants' tables and of the database, so that whoever watches asks these tables and not
-- the catalogue. Only adds: processes of the release before go on beside it.
-- None of these names begins with tenant_: of a backup they are no part. What is of a tenant goes when that is purged.

-- Who collects: one process at a time, as long as it goes on saying so. A write of anyone else finds no row here.
CREATE TABLE bf_control.collection_lease (
    only_one boolean NOT NULL DEFAULT true CONSTRAINT collection_lease_pkey PRIMARY KEY
        CONSTRAINT collection_lease_check CHECK (only_one),
    token uuid,
    holder text,
    expires_at timestamptz NOT NULL DEFAULT '-infinity'
);

INSERT INTO bf_control.collection_lease DEFAULT VALUES;

CREATE TABLE bf_control.collection (
    collector text COLLATE "C" NOT NULL CONSTRAINT collection_pkey PRIMARY KEY,
    started_at timestamptz,
    ended_at timestamptz,
    reached text COLLATE "C" NOT NULL DEFAULT '',
    tenants integer NOT NULL DEFAULT 0,
    succeeded_at timestamptz,
    duration_ms integer,
    failed_at timestamptz,
    error text,
    notes jsonb NOT NULL DEFAULT '[]' CONSTRAINT collection_notes_check CHECK (jsonb_typeof(notes) = 'array')
);

COMMENT ON TABLE bf_control.collection IS 'How the last round of each collector went';
COMMENT ON COLUMN bf_control.collection.reached IS 'The last tenant a round has done: whoever takes over goes on there';
COMMENT ON COLUMN bf_control.collection.duration_ms IS 'Of the last round that succeeded';
COMMENT ON COLUMN bf_control.collection.notes IS 'What could not be seen, why, and the statement that mends it';

-- Of tenants ----------------------------------------------------------------------------------------
-- A row is written only where something changed; when it was looked at is in schema_snapshot.

CREATE TABLE bf_control.schema_snapshot (
    tenant_id varchar(36) COLLATE "C" NOT NULL CONSTRAINT schema_snapshot_pkey PRIMARY KEY,
    taken_at timestamptz NOT NULL,
    measured_at timestamptz NOT NULL,
    total_bytes bigint NOT NULL,
    heap_bytes bigint NOT NULL,
    index_bytes bigint NOT NULL,
    toast_bytes bigint NOT NULL,
    live_rows bigint NOT NULL,
    dead_rows bigint NOT NULL,
    table_count integer NOT NULL,
    index_count integer NOT NULL,
    invalid_indexes integer NOT NULL,
    unused_indexes integer NOT NULL,
    missing_tables text[] NOT NULL,
    missing_indexes text[] NOT NULL,
    open_tables text[] NOT NULL,
    intact boolean GENERATED ALWAYS AS (missing_tables = '{}' AND missing_indexes = '{}' AND open_tables = '{}'
                                        AND invalid_indexes = 0) STORED
) WITH (fillfactor = 80);

COMMENT ON TABLE bf_control.schema_snapshot IS 'The last look at each tenant''s schema: the sums of its tables, and what is wrong';
COMMENT ON COLUMN bf_control.schema_snapshot.measured_at IS 'When all sizes were measured, and not only those of tables that changed';
COMMENT ON COLUMN bf_control.schema_snapshot.open_tables IS 'Those whose row-level security is not enabled, forced, and with policies';

CREATE INDEX schema_snapshot_bytes_idx ON bf_control.schema_snapshot (total_bytes, tenant_id);
CREATE INDEX schema_snapshot_live_idx ON bf_control.schema_snapshot (live_rows, tenant_id);
CREATE INDEX schema_snapshot_dead_idx ON bf_control.schema_snapshot (dead_rows, tenant_id);
CREATE INDEX schema_snapshot_broken_idx ON bf_control.schema_snapshot (tenant_id) WHERE NOT intact;

CREATE TABLE bf_control.table_snapshot (
    tenant_id varchar(36) COLLATE "C" NOT NULL,
    table_name text COLLATE "C" NOT NULL,
    total_bytes bigint NOT NULL,
    heap_bytes bigint NOT NULL,
    index_bytes bigint NOT NULL,
    toast_bytes bigint NOT NULL,
    live_rows bigint NOT NULL,
    dead_rows bigint NOT NULL,
    sequential_scans bigint NOT NULL,
    index_count integer NOT NULL,
    policy_count integer NOT NULL,
    rls_enabled boolean NOT NULL,
    rls_forced boolean NOT NULL,
    last_vacuum_at timestamptz,
    last_analyze_at timestamptz,
    activity text NOT NULL,
    CONSTRAINT table_snapshot_pkey PRIMARY KEY (tenant_id, table_name)
) WITH (fillfactor = 80);

COMMENT ON COLUMN bf_control.table_snapshot.last_vacuum_at IS 'By hand or by autovacuum, as last_analyze_at';
COMMENT ON COLUMN bf_control.table_snapshot.activity IS 'What changes whenever the table''s size may have';

CREATE INDEX table_snapshot_bytes_idx ON bf_control.table_snapshot (total_bytes, tenant_id, table_name);
CREATE INDEX table_snapshot_live_idx ON bf_control.table_snapshot (live_rows, tenant_id, table_name);
CREATE INDEX table_snapshot_dead_idx ON bf_control.table_snapshot (dead_rows, tenant_id, table_name);

CREATE TABLE bf_control.index_snapshot (
    tenant_id varchar(36) COLLATE "C" NOT NULL,
    index_name text COLLATE "C" NOT NULL,
    table_name text COLLATE "C" NOT NULL,
    bytes bigint NOT NULL,
    scans bigint NOT NULL,
    tuples_read bigint NOT NULL,
    tuples_fetched bigint NOT NULL,
    is_unique boolean NOT NULL,
    is_valid boolean NOT NULL,
    is_unused boolean GENERATED ALWAYS AS (scans = 0 AND NOT is_unique) STORED,
    CONSTRAINT index_snapshot_pkey PRIMARY KEY (tenant_id, index_name)
) WITH (fillfactor = 80);

COMMENT ON COLUMN bf_control.index_snapshot.is_unused IS 'No scan since statistics were reset; a unique one holds something all the same';

CREATE INDEX index_snapshot_read_idx ON bf_control.index_snapshot (tuples_read, tenant_id, index_name);
CREATE INDEX index_snapshot_scans_idx ON bf_control.index_snapshot (scans, tenant_id, index_name);
CREATE INDEX index_snapshot_bytes_idx ON bf_control.index_snapshot (bytes, tenant_id, index_name);
CREATE INDEX index_snapshot_unused_idx ON bf_control.index_snapshot (bytes, tenant_id, index_name) WHERE is_unused;
CREATE INDEX index_snapshot_invalid_idx ON bf_control.index_snapshot (tenant_id, index_name) WHERE NOT is_valid;

-- How a tenant grew. A sample holds until the next one: none is kept of a tenant that stayed as it was, but for one a
-- day. The last sample of each hour outlives the others, and then the last of each day.
CREATE TABLE bf_control.size_history (
    tenant_id varchar(36) COLLATE "C" NOT NULL,
    taken_at timestamptz NOT NULL,
    grain text NOT NULL DEFAULT 'minute'
        CONSTRAINT size_history_grain_check CHECK (grain IN ('minute', 'hour', 'day')),
    total_bytes bigint NOT NULL,
    live_rows bigint NOT NULL,
    dead_rows bigint NOT NULL,
    tables jsonb NOT NULL,
    CONSTRAINT size_history_pkey PRIMARY KEY (tenant_id, taken_at)
);

COMMENT ON COLUMN bf_control.size_history.tables IS 'By name: bytes, and live rows';

CREATE INDEX size_history_grain_idx ON bf_control.size_history (grain, taken_at);

-- Of the database -----------------------------------------------------------------------------------

CREATE TABLE bf_control.fleet_snapshot (
    taken_at timestamptz NOT NULL CONSTRAINT fleet_snapshot_pkey PRIMARY KEY,
    grain text NOT NULL DEFAULT 'minute'
        CONSTRAINT fleet_snapshot_grain_check CHECK (grain IN ('minute', 'hour', 'day')),
    database_bytes bigint NOT NULL,
    transaction_age bigint NOT NULL,
    multixact_age bigint NOT NULL,
    freeze_max_age bigint NOT NULL,
    connections integer NOT NULL,
    max_connections integer NOT NULL,
    locks_used integer NOT NULL,
    locks_limit integer NOT NULL,
    lock_waits jsonb NOT NULL,
    catalogue jsonb NOT NULL,
    standbys jsonb NOT NULL,
    slot_bytes bigint,
    tenants jsonb NOT NULL,
    statistics_reset_at timestamptz,
    disk_bytes bigint,
    disk_free_bytes bigint
);

COMMENT ON COLUMN bf_control.fleet_snapshot.transaction_age IS 'Transactions since the oldest that is not frozen';
COMMENT ON COLUMN bf_control.fleet_snapshot.lock_waits IS 'Of whom there are most of, 20 at most';
COMMENT ON COLUMN bf_control.fleet_snapshot.slot_bytes IS 'WAL that the replication slot furthest behind holds back';
COMMENT ON COLUMN bf_control.fleet_snapshot.tenants IS 'How many there are of each state, version and tier';
COMMENT ON COLUMN bf_control.fleet_snapshot.statistics_reset_at IS 'Since when scans and rows are counted';

CREATE INDEX fleet_snapshot_grain_idx ON bf_control.fleet_snapshot (grain, taken_at);

CREATE TABLE bf_control.connection_snapshot (
    role text COLLATE "C" NOT NULL,
    application text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,
    connections integer NOT NULL,
    waiting integer NOT NULL,
    oldest_transaction_seconds double precision,
    longest_in_state_seconds double precision,
    CONSTRAINT connection_snapshot_pkey PRIMARY KEY (role, application, state)
);

COMMENT ON TABLE bf_control.connection_snapshot IS 'Clients of this database at the last look; as many rows as there are connections at most';
COMMENT ON COLUMN bf_control.connection_snapshot.waiting IS 'How many of them wait for a lock';

-- The 500 that took most of the time.
CREATE TABLE bf_control.statement_snapshot (
    id text COLLATE "C" NOT NULL CONSTRAINT statement_snapshot_pkey PRIMARY KEY,
    tenant_id varchar(36) COLLATE "C",
    role text COLLATE "C" NOT NULL,
    query text NOT NULL,
    calls bigint NOT NULL,
    total_ms double precision NOT NULL,
    mean_ms double precision NOT NULL,
    max_ms double precision NOT NULL,
    rows bigint NOT NULL,
    blocks_read bigint NOT NULL
);

COMMENT ON COLUMN bf_control.statement_snapshot.query IS 'Without the constants, and without comments';
COMMENT ON COLUMN bf_control.statement_snapshot.tenant_id IS 'NULL where neither its text nor its role tells, and where it is of several';

-- What can be had of pg_stat_statements, whose schema is whichever it was installed in: 'ready', or why not.
CREATE FUNCTION bf_control.statement_statistics_state() RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    place name := (SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
                    WHERE e.extname = 'pg_stat_statements');
BEGIN
    IF place IS NULL THEN
        RETURN 'missing';
    END IF;
    EXECUTE format('SELECT s.total_exec_time FROM %I.pg_stat_statements s LIMIT 1', place);
    RETURN 'ready';
EXCEPTION
    WHEN object_not_in_prerequisite_state THEN RETURN 'not_loaded';
    WHEN undefined_column OR undefined_table THEN RETURN 'outdated';
    WHEN insufficient_privilege THEN RETURN 'forbidden';
END
$function$;

-- The statements of this database that took most of the time: those that we may see.
CREATE FUNCTION bf_control.statement_statistics(at_most integer)
RETURNS TABLE (
    query_id bigint, role name, query text, calls bigint, total_ms double precision, max_ms double precision,
    "rows" bigint, blocks_read bigint
)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    place name := (SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
                    WHERE e.extname = 'pg_stat_statements');
BEGIN
    RETURN QUERY EXECUTE format(
        $$SELECT s.queryid, r.rolname, min(s.query), sum(s.calls)::bigint, sum(s.total_exec_time), max(s.max_exec_time),
                 sum(s.rows)::bigint, sum(s.shared_blks_read)::bigint
            FROM %I.pg_stat_statements s
            JOIN pg_database d ON d.oid = s.dbid AND d.datname = current_database()
            JOIN pg_roles r ON r.oid = s.userid
           WHERE s.queryid IS NOT NULL
           GROUP BY s.queryid, r.rolname ORDER BY sum(s.total_exec_time) DESC LIMIT $1$$, place) USING at_most;
END
$function$;

REVOKE ALL ON FUNCTION bf_control.statement_statistics_state(), bf_control.statement_statistics(integer) FROM PUBLIC;
