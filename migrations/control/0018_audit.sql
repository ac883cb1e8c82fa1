-- The audit trail: only ever added to, and linked into a chain of hashes behind those who write. Only adds: processes of
-- the release before go on beside it, and what they record is sealed too.

-- A constant first, so that no row is rewritten: what was recorded before is sealed before all else.
ALTER TABLE bf_control.audit
    ADD COLUMN role text,
    ADD COLUMN xid xid8 NOT NULL DEFAULT '0';

ALTER TABLE bf_control.audit ALTER COLUMN xid SET DEFAULT pg_current_xact_id();

COMMENT ON COLUMN bf_control.audit.role IS 'The role the caller had; none of what the service did later, or a shell';
COMMENT ON COLUMN bf_control.audit.xid IS 'The transaction that recorded it; 0 of rows that are older than this column';

CREATE INDEX audit_xid_idx ON bf_control.audit (xid, id);
CREATE INDEX audit_occurred_at_idx ON bf_control.audit (occurred_at, id);
CREATE INDEX audit_actor_idx ON bf_control.audit (actor, occurred_at, id);
CREATE INDEX audit_action_idx ON bf_control.audit (action, occurred_at, id);
CREATE INDEX audit_target_time_idx ON bf_control.audit (target, occurred_at, id);
CREATE INDEX audit_tenant_idx ON bf_control.audit (split_part(target, '/', 2), occurred_at, id)
    WHERE target LIKE 'tenant/%';
CREATE INDEX audit_request_idx ON bf_control.audit (request_id, occurred_at, id) WHERE request_id IS NOT NULL;
CREATE INDEX audit_refused_idx ON bf_control.audit (outcome, occurred_at, id)
    WHERE outcome IN ('failed', 'cancelled', 'denied');

-- One link for each row of the trail, in the order in which the sealer found them committed. `hash` is of the row and of
-- the hash before it. No foreign key: that the row is gone is what a verification must find, not what PostgreSQL prevents.
CREATE TABLE bf_control.audit_seal (
    seq bigint NOT NULL CONSTRAINT audit_seal_pkey PRIMARY KEY CONSTRAINT audit_seal_seq_check CHECK (seq > 0),
    audit_id bigint NOT NULL CONSTRAINT audit_seal_audit_key UNIQUE,
    hash bytea NOT NULL CONSTRAINT audit_seal_hash_check CHECK (octet_length(hash) = 32)
);

-- The oldest part of the chain, dropped because it was older than anything must be kept: what it ended in.
CREATE TABLE bf_control.audit_segment (
    first_seq bigint NOT NULL,
    last_seq bigint NOT NULL CONSTRAINT audit_segment_pkey PRIMARY KEY,
    head_hash bytea NOT NULL CONSTRAINT audit_segment_hash_check CHECK (octet_length(head_hash) = 32),
    newest timestamptz NOT NULL,
    dropped_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT audit_segment_check CHECK (first_seq <= last_seq)
);

-- Where the sealer is: one row, which is locked by whoever seals.
CREATE TABLE bf_control.audit_chain (
    only_one boolean NOT NULL DEFAULT true CONSTRAINT audit_chain_pkey PRIMARY KEY
        CONSTRAINT audit_chain_check CHECK (only_one),
    chain_id uuid NOT NULL DEFAULT gen_random_uuid(),
    head_seq bigint NOT NULL DEFAULT 0,
    head_hash bytea NOT NULL DEFAULT decode(repeat('00', 32), 'hex'),
    done_xid xid8 NOT NULL DEFAULT '0',
    done_id bigint NOT NULL DEFAULT 0,
    sealed_at timestamptz,
    anchored_seq bigint NOT NULL DEFAULT 0,
    anchored_at timestamptz
);

COMMENT ON COLUMN bf_control.audit_chain.done_xid IS 'No row up to (done_xid, done_id) can still be unsealed';

INSERT INTO bf_control.audit_chain DEFAULT VALUES;

-- For whoever owns the tables too. What an owner can still do is disable these triggers, or drop them: an event trigger,
-- which would refuse that, takes a superuser. The chain tells of it.
CREATE FUNCTION bf_control.audit_refuse() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    RAISE EXCEPTION '% of % is refused: the audit trail is only added to', TG_OP, TG_RELID::regclass
        USING ERRCODE = 'insufficient_privilege',
              HINT = 'What is older than everything must be kept goes by bf_control.audit_drop().';
END
$function$;

-- Of rows in a segment that is dropped, and of no others.
CREATE FUNCTION bf_control.audit_refuse_delete() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    dropped bigint := (SELECT max(g.last_seq) FROM bf_control.audit_segment g);
    at bigint;
BEGIN
    IF TG_RELID = 'bf_control.audit_seal'::regclass THEN
        at := OLD.seq;
    ELSE
        SELECT s.seq INTO at FROM bf_control.audit_seal s WHERE s.audit_id = OLD.id;
    END IF;
    IF at IS NULL OR dropped IS NULL OR at > dropped THEN
        RAISE EXCEPTION 'DELETE of % is refused: the audit trail is only added to', TG_RELID::regclass
            USING ERRCODE = 'insufficient_privilege',
                  HINT = 'What is older than everything must be kept goes by bf_control.audit_drop().';
    END IF;
    RETURN OLD;
END
$function$;

CREATE TRIGGER audit_refuse BEFORE UPDATE OR TRUNCATE ON bf_control.audit
    FOR EACH STATEMENT EXECUTE FUNCTION bf_control.audit_refuse();
CREATE TRIGGER audit_refuse_delete BEFORE DELETE ON bf_control.audit
    FOR EACH ROW EXECUTE FUNCTION bf_control.audit_refuse_delete();
CREATE TRIGGER audit_refuse BEFORE UPDATE OR TRUNCATE ON bf_control.audit_seal
    FOR EACH STATEMENT EXECUTE FUNCTION bf_control.audit_refuse();
CREATE TRIGGER audit_refuse_delete BEFORE DELETE ON bf_control.audit_seal
    FOR EACH ROW EXECUTE FUNCTION bf_control.audit_refuse_delete();
CREATE TRIGGER audit_refuse BEFORE UPDATE OR DELETE OR TRUNCATE ON bf_control.audit_segment
    FOR EACH STATEMENT EXECUTE FUNCTION bf_control.audit_refuse();
CREATE TRIGGER audit_refuse BEFORE DELETE OR TRUNCATE ON bf_control.audit_chain
    FOR EACH STATEMENT EXECUTE FUNCTION bf_control.audit_refuse();

-- In sessions of session_replication_role = replica too.
ALTER TABLE bf_control.audit ENABLE ALWAYS TRIGGER audit_refuse;
ALTER TABLE bf_control.audit ENABLE ALWAYS TRIGGER audit_refuse_delete;
ALTER TABLE bf_control.audit_seal ENABLE ALWAYS TRIGGER audit_refuse;
ALTER TABLE bf_control.audit_seal ENABLE ALWAYS TRIGGER audit_refuse_delete;
ALTER TABLE bf_control.audit_segment ENABLE ALWAYS TRIGGER audit_refuse;
ALTER TABLE bf_control.audit_chain ENABLE ALWAYS TRIGGER audit_refuse;

-- Drops up to `at_most` rows from the chain's beginning: those that are older than `keep`, and than the longest
-- data_retention_days of any tenant. What they ended in stays, as a segment and in a row of the trail itself, so that
-- the rest still verifies. Returns how many; none while another session seals or drops.
CREATE FUNCTION bf_control.audit_drop(keep interval, at_most integer DEFAULT 1000) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    config CONSTANT regclass := to_regclass(format('%I.tenant_config', bf_control.setting_of('shared_schema')));
    longest interval := greatest(keep, interval '1 day');
    days integer;
    first_one bigint;
    kept bigint;
    last_one bigint;
    ended bf_control.audit_seal;
    newest_one timestamptz;
BEGIN
    PERFORM FROM bf_control.audit_chain FOR UPDATE SKIP LOCKED;
    IF keep IS NULL OR at_most < 1 OR NOT FOUND THEN
        RETURN 0;
    END IF;
    IF config IS NOT NULL THEN
        EXECUTE format('SELECT max(c.data_retention_days) FROM %s c', config) INTO days;
        longest := greatest(longest, make_interval(days => days));
    END IF;
    SELECT min(s.seq) INTO first_one FROM bf_control.audit_seal s;
    SELECT s.seq INTO kept
      FROM bf_control.audit_seal s LEFT JOIN bf_control.audit a ON a.id = s.audit_id
     WHERE s.seq < first_one + at_most AND (a.occurred_at >= now() - longest OR a.id IS NULL)
     ORDER BY s.seq LIMIT 1;
    SELECT max(s.seq) INTO last_one FROM bf_control.audit_seal s WHERE s.seq < coalesce(kept, first_one + at_most);
    IF last_one IS NULL THEN
        RETURN 0;
    END IF;
    SELECT s.* INTO ended FROM bf_control.audit_seal s WHERE s.seq = last_one;
    SELECT max(a.occurred_at) INTO newest_one
      FROM bf_control.audit a JOIN bf_control.audit_seal s ON s.audit_id = a.id WHERE s.seq <= last_one;
    INSERT INTO bf_control.audit_segment (first_seq, last_seq, head_hash, newest)
    VALUES (first_one, last_one, ended.hash, newest_one);
    INSERT INTO bf_control.audit (actor, action, target, outcome, after)
    VALUES ('service:audit', 'audit.drop', 'audit', 'succeeded',
            jsonb_build_object('first_seq', first_one, 'last_seq', last_one, 'hash', encode(ended.hash, 'hex'),
                               'newest', newest_one, 'kept_for', longest));
    DELETE FROM bf_control.audit a USING bf_control.audit_seal s WHERE s.audit_id = a.id AND s.seq <= last_one;
    DELETE FROM bf_control.audit_seal s WHERE s.seq <= last_one;
    RETURN last_one - first_one + 1;
END
$function$;

-- A change of tenant_config that was made in SQL, from the history that keeps it. What the API changes it records itself,
-- and of is_active move_tenant_by_hand() does.
CREATE FUNCTION bf_control.audit_config_by_hand() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    was jsonb;
    became jsonb;
BEGIN
    SELECT jsonb_object_agg(k.key, bf_control.presentable(k.key, NEW.before -> k.key)),
           jsonb_object_agg(k.key, bf_control.presentable(k.key, NEW.after -> k.key)) INTO was, became
      FROM jsonb_object_keys(NEW.after) AS k(key)
     WHERE k.key <> 'is_active' AND NEW.before -> k.key IS DISTINCT FROM NEW.after -> k.key
       AND (NEW.before IS NOT NULL OR k.key IN ('tenant_name', 'subscription_tier'));
    IF became IS NOT NULL THEN
        INSERT INTO bf_control.audit (actor, action, target, outcome, before, after)
        VALUES (coalesce(NEW.user_context,
                         (SELECT t.created_by FROM bf_control.tenant t
                           WHERE t.tenant_id = NEW.tenant_id AND NEW.before IS NULL),
                         NEW.database_user),
                CASE WHEN NEW.before IS NULL THEN 'tenant.create' ELSE 'tenant.change' END,
                'tenant/' || NEW.tenant_id, 'succeeded', CASE WHEN NEW.before IS NOT NULL THEN was END, became);
    END IF;
    RETURN NULL;
END
$function$;

CREATE TRIGGER tenant_config_history_audit AFTER INSERT ON bf_control.tenant_config_history
    FOR EACH ROW WHEN (NEW.source = 'sql') EXECUTE FUNCTION bf_control.audit_config_by_hand();

REVOKE ALL ON FUNCTION bf_control.audit_refuse(), bf_control.audit_refuse_delete(),
    bf_control.audit_drop(interval, integer), bf_control.audit_config_by_hand() FROM PUBLIC;
