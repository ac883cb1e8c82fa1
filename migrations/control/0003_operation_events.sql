-- Following long work, stopping it, and what the registry lists of a tenant's configuration. Only adds:
-- processes of the release before go on beside it. What takes longest comes first, while it locks least.

-- registry -------------------------------------------------------------------------------------------

ALTER TABLE bf_control.tenant
    ADD COLUMN billing_contact varchar(255),
    ADD COLUMN features text[] NOT NULL DEFAULT '{}';

COMMENT ON COLUMN bf_control.tenant.features IS 'A copy of tenant_config.features_enabled, for lists to filter by';

CREATE INDEX tenant_features_idx ON bf_control.tenant USING gin (features);

CREATE INDEX tenant_tier_idx ON bf_control.tenant (subscription_tier, tenant_id);

DO $backfill$
DECLARE
    shared_schema text := (SELECT s.value FROM bf_control.setting s WHERE s.name = 'shared_schema');
BEGIN
    IF shared_schema IS NOT NULL THEN
        EXECUTE format($$
            UPDATE bf_control.tenant t
               SET billing_contact = c.billing_contact,
                   features = ARRAY(SELECT jsonb_array_elements_text(c.features_enabled))
              FROM %I.tenant_config c
             WHERE c.tenant_id = t.tenant_id
               AND (c.billing_contact IS NOT NULL OR c.features_enabled <> '[]')$$, shared_schema);
    END IF;
END
$backfill$;

-- AFTER INSERT OR UPDATE of tenant_config, as in the release before, with the two columns above.
CREATE OR REPLACE FUNCTION bf_control.tenant_config_record() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    before jsonb := CASE WHEN TG_OP = 'UPDATE' THEN to_jsonb(OLD) - 'updated_at' END;
    after jsonb := to_jsonb(NEW) - 'updated_at';
    changed text[];
BEGIN
    SELECT array_agg(DISTINCT d.document ORDER BY d.document) INTO changed
      FROM jsonb_object_keys(after) AS k(key)
     CROSS JOIN LATERAL (SELECT CASE
               WHEN k.key IN ('tenant_id', 'tenant_name', 'is_active', 'subscription_tier', 'billing_contact', 'created_at')
                   THEN 'tenant'
               WHEN k.key = 'features_enabled' THEN 'features'
               WHEN k.key IN ('max_budget_lines', 'forecast_horizon_limit', 'concurrent_users_limit', 'usage_limits')
                   THEN 'limits'
               WHEN k.key = 'apg_integrations' THEN 'integrations'
               ELSE 'configuration' END) AS d(document)
     WHERE before -> k.key IS DISTINCT FROM after -> k.key;
    IF changed IS NULL THEN
        RETURN NULL;
    END IF;
    INSERT INTO bf_control.tenant_document AS d (tenant_id, document)
    SELECT NEW.tenant_id, unnest(changed)
        ON CONFLICT (tenant_id, document) DO UPDATE SET version = d.version + 1, updated_at = now();
    INSERT INTO bf_control.tenant_config_history (tenant_id, database_user, user_context, source, documents, before, after)
    VALUES (NEW.tenant_id, session_user,
            coalesce(nullif(current_setting('app.current_user_id', true), ''),
                     nullif(current_setting('app.current_user', true), '')),
            CASE current_setting('bf.source', true) WHEN 'api' THEN 'api' ELSE 'sql' END,
            changed, before, after);
    IF TG_OP = 'UPDATE' THEN
        UPDATE bf_control.tenant t
           SET tenant_name = NEW.tenant_name, subscription_tier = NEW.subscription_tier,
               billing_contact = NEW.billing_contact,
               features = ARRAY(SELECT jsonb_array_elements_text(NEW.features_enabled)), updated_at = now()
         WHERE t.tenant_id = NEW.tenant_id;
    END IF;
    RETURN NULL;
END
$function$;

-- The tenant's row of tenant_config, or NULL; the shared schema's name is a setting.
CREATE FUNCTION bf_control.tenant_settings(wanted text) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    found jsonb;
BEGIN
    EXECUTE format('SELECT to_jsonb(c) FROM %I.tenant_config c WHERE c.tenant_id = $1',
                   bf_control.setting_of('shared_schema')) INTO found USING wanted;
    RETURN found;
END
$function$;

-- Before the registry row is locked, for whatever changes both: a direct UPDATE of tenant_config locks in this order.
CREATE FUNCTION bf_control.lock_tenant_config(wanted text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    shared_schema text := (SELECT s.value FROM bf_control.setting s WHERE s.name = 'shared_schema');
BEGIN
    IF shared_schema IS NOT NULL THEN
        EXECUTE format('SELECT FROM %I.tenant_config c WHERE c.tenant_id = $1 FOR UPDATE', shared_schema) USING wanted;
    END IF;
END
$function$;

-- Sets name, tier and billing contact of a tenant: of `changes`, {"tenant_name": …}, those that are there.
CREATE FUNCTION bf_control.change_tenant(wanted text, changes jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    touched bigint;
BEGIN
    EXECUTE format($$
        UPDATE %1$I.tenant_config c
           SET tenant_name = v.tenant_name, subscription_tier = v.subscription_tier,
               billing_contact = v.billing_contact
          FROM %1$I.tenant_config o CROSS JOIN LATERAL jsonb_populate_record(o, $2) AS v
         WHERE o.tenant_id = $1 AND c.tenant_id = o.tenant_id$$, bf_control.setting_of('shared_schema'))
      USING wanted, changes;
    GET DIAGNOSTICS touched = ROW_COUNT;
    IF touched <> 1 THEN
        RAISE EXCEPTION 'tenant % has no configuration', quote_nullable(wanted) USING ERRCODE = 'no_data_found';
    END IF;
END
$function$;

-- operations -----------------------------------------------------------------------------------------

ALTER TABLE bf_control.operation
    ADD COLUMN progress jsonb,
    ADD COLUMN cancel_requested_at timestamptz,
    ADD COLUMN retry_of uuid;

COMMENT ON COLUMN bf_control.operation.progress IS 'Of work in items: {"done": n, "total": n}';
COMMENT ON COLUMN bf_control.operation.cancel_requested_at IS 'Its worker stops before the next item';

CREATE INDEX operation_kind_idx ON bf_control.operation (kind, created_at, id);

-- What was seen of an operation, in order: the row as it was after each change.
CREATE TABLE bf_control.operation_event (
    operation_id uuid NOT NULL,
    seq integer NOT NULL,
    occurred_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    event text NOT NULL CONSTRAINT operation_event_event_check
        CHECK (event IN ('queued', 'running', 'progress', 'succeeded', 'failed', 'cancelled')),
    document jsonb NOT NULL,
    CONSTRAINT operation_event_pkey PRIMARY KEY (operation_id, seq),
    CONSTRAINT operation_event_operation_fkey FOREIGN KEY (operation_id)
        REFERENCES bf_control.operation (id) ON DELETE CASCADE
);

-- A trigger, so that workers of the release before write events too. The updated row is locked: seq has no gaps.
CREATE FUNCTION bf_control.operation_record() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    seen text := NEW.status;
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.status = OLD.status AND NEW.attempts = OLD.attempts THEN
        seen := 'progress';
    END IF;
    INSERT INTO bf_control.operation_event (operation_id, seq, event, document)
    SELECT NEW.id, coalesce(max(e.seq), 0) + 1, seen,
           jsonb_build_object('status', NEW.status, 'started_at', NEW.started_at, 'finished_at', NEW.finished_at,
                              'attempts', NEW.attempts, 'progress', NEW.progress, 'steps', NEW.steps,
                              'result', NEW.result, 'error', NEW.error,
                              'cancel_requested', NEW.cancel_requested_at IS NOT NULL)
      FROM bf_control.operation_event e WHERE e.operation_id = NEW.id;
    IF seen = 'progress' THEN
        PERFORM pg_notify('bf_operation', NEW.id::text);
    END IF;
    RETURN NULL;
END
$function$;

CREATE TRIGGER operation_requested AFTER INSERT ON bf_control.operation
    FOR EACH ROW EXECUTE FUNCTION bf_control.operation_record();

CREATE TRIGGER operation_changed AFTER UPDATE ON bf_control.operation
    FOR EACH ROW WHEN (NEW.status <> OLD.status OR NEW.attempts <> OLD.attempts
                       OR NEW.progress IS DISTINCT FROM OLD.progress
                       OR NEW.cancel_requested_at IS DISTINCT FROM OLD.cancel_requested_at)
    EXECUTE FUNCTION bf_control.operation_record();

ALTER TABLE bf_control.audit
    DROP CONSTRAINT audit_outcome_check,
    ADD CONSTRAINT audit_outcome_check
        CHECK (outcome IN ('accepted', 'succeeded', 'failed', 'cancelled', 'denied')) NOT VALID;

COMMENT ON CONSTRAINT audit_outcome_check ON bf_control.audit IS
    'Not validated: it allows more than the one before, which every row has passed';

-- What somebody must repeat to be believed: kept as a hash, used once.
CREATE TABLE bf_control.confirmation (
    token_hash bytea NOT NULL CONSTRAINT confirmation_pkey PRIMARY KEY,
    action text NOT NULL,
    actor text NOT NULL,
    plan_digest bytea NOT NULL,
    expires_at timestamptz NOT NULL
);

REVOKE ALL ON FUNCTION bf_control.operation_record(), bf_control.tenant_settings(text),
    bf_control.lock_tenant_config(text), bf_control.change_tenant(text, jsonb) FROM PUBLIC;
