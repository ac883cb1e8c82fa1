-- Events out: what happened, written by triggers in the transaction in which it did, and who is to be told of it. Only
-- adds: processes of the release before write events too, and leave the telling to workers of this one.

-- The outbox. What a row is about outlives it, so no column is called tenant_id: see tables_of_tenants().
CREATE TABLE bf_control.event (
    seq bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT event_pkey PRIMARY KEY,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    type text COLLATE "C" NOT NULL,
    subject text NOT NULL,
    about_tenant varchar(36) COLLATE "C",
    occurred_at timestamptz NOT NULL DEFAULT now(),
    data jsonb NOT NULL
);

COMMENT ON COLUMN bf_control.event.seq IS 'Nearly the order of commits: of two transactions at once, either may be first';

CREATE INDEX event_occurred_at_idx ON bf_control.event (occurred_at, seq);

CREATE TABLE bf_control.webhook (
    id uuid NOT NULL DEFAULT gen_random_uuid() CONSTRAINT webhook_pkey PRIMARY KEY,
    url text NOT NULL CONSTRAINT webhook_url_check CHECK (length(url) BETWEEN 1 AND 2048),
    description varchar(500) NOT NULL DEFAULT '',
    event_types text[] NOT NULL DEFAULT '{}',
    about_tenant varchar(36) COLLATE "C",
    capability text COLLATE "C",
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    disabled_at timestamptz,
    disabled_reason text CONSTRAINT webhook_disabled_reason_check CHECK (disabled_reason IN ('gone', 'tenant_purged')),
    failing_since timestamptz,
    CONSTRAINT webhook_disabled_check CHECK ((disabled_at IS NULL) = (disabled_reason IS NULL)),
    CONSTRAINT webhook_capability_check CHECK (capability IS NULL OR about_tenant IS NOT NULL),
    CONSTRAINT webhook_capability_key UNIQUE (about_tenant, capability)
);

COMMENT ON COLUMN bf_control.webhook.event_types IS 'None: every type';
COMMENT ON COLUMN bf_control.webhook.about_tenant IS 'Events of this one alone; ended with it, so that the next one of its id is not told of';
COMMENT ON COLUMN bf_control.webhook.capability IS
    'The integration of the tenant that it stands for: kept by keep_integration_webhooks(), signed with its signing_secret';
COMMENT ON COLUMN bf_control.webhook.failing_since IS 'Until it takes something again, it is sent one event at a time';

CREATE TABLE bf_control.webhook_secret (
    id uuid NOT NULL CONSTRAINT webhook_secret_pkey PRIMARY KEY,
    webhook_id uuid NOT NULL CONSTRAINT webhook_secret_webhook_fkey
        REFERENCES bf_control.webhook (id) ON DELETE CASCADE,
    key_id text NOT NULL,
    ciphertext bytea NOT NULL CONSTRAINT webhook_secret_ciphertext_check CHECK (octet_length(ciphertext) > 28),
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz
);

COMMENT ON TABLE bf_control.webhook_secret IS 'As integration_secret; bound to the webhook and to its own id';
COMMENT ON COLUMN bf_control.webhook_secret.expires_at IS 'Until then a secret that was rotated signs beside the new one';

CREATE INDEX webhook_secret_webhook_idx ON bf_control.webhook_secret (webhook_id, created_at);

-- What is to be told to whom. Without a foreign key to the webhook: an event that meets the deletion of one would wait
-- for it, and then fail, with the change that it is the event of.
CREATE TABLE bf_control.webhook_delivery (
    id uuid NOT NULL DEFAULT gen_random_uuid() CONSTRAINT webhook_delivery_pkey PRIMARY KEY,
    webhook_id uuid NOT NULL,
    event_seq bigint NOT NULL CONSTRAINT webhook_delivery_event_fkey
        REFERENCES bf_control.event (seq) ON DELETE CASCADE,
    about_tenant varchar(36) COLLATE "C",
    status text NOT NULL DEFAULT 'pending' CONSTRAINT webhook_delivery_status_check
        CHECK (status IN ('pending', 'delivered', 'dead')),
    attempts integer NOT NULL DEFAULT 0,
    queued_at timestamptz NOT NULL DEFAULT now(),
    due_at timestamptz NOT NULL DEFAULT now(),
    claim_token uuid,
    attempted_at timestamptz,
    latency_ms double precision,
    response_status integer,
    response_body text,
    error jsonb,
    CONSTRAINT webhook_delivery_event_key UNIQUE (webhook_id, event_seq)
);

COMMENT ON COLUMN bf_control.webhook_delivery.due_at IS 'Of the next try; while it is claimed: until when, after which anybody may';
COMMENT ON COLUMN bf_control.webhook_delivery.claim_token IS 'Fencing: whoever writes an outcome must still hold it';
COMMENT ON COLUMN bf_control.webhook_delivery.response_body IS 'Its first KiB, of the last try';

CREATE INDEX webhook_delivery_due_idx ON bf_control.webhook_delivery (webhook_id, due_at, event_seq)
    WHERE status = 'pending';
CREATE INDEX webhook_delivery_claimed_idx ON bf_control.webhook_delivery (webhook_id) WHERE claim_token IS NOT NULL;
CREATE INDEX webhook_delivery_event_idx ON bf_control.webhook_delivery (event_seq);

-- Whoever delivers listens on this channel. An integration without a secret to sign with is told nothing: who gets an
-- unsigned event knows nothing of where it is from.
CREATE FUNCTION bf_control.queue_event(recorded bf_control.event) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    INSERT INTO bf_control.webhook_delivery (webhook_id, event_seq, about_tenant)
    SELECT w.id, recorded.seq, recorded.about_tenant
      FROM bf_control.webhook w
     WHERE (w.about_tenant IS NULL OR w.about_tenant = recorded.about_tenant) AND w.disabled_at IS NULL
       AND (w.event_types = '{}' OR recorded.type = ANY (w.event_types))
       AND (w.capability IS NULL OR EXISTS (
               SELECT FROM bf_control.integration_secret s
                WHERE s.tenant_id = w.about_tenant AND s.capability = w.capability AND s.name = 'signing_secret'))
        ON CONFLICT (webhook_id, event_seq) DO NOTHING;
    IF FOUND THEN
        PERFORM pg_notify('bf_webhook', '');
    END IF;
END
$function$;

CREATE FUNCTION bf_control.record_event(event_type text, subject text, about_tenant text, data jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    recorded bf_control.event;
BEGIN
    INSERT INTO bf_control.event AS e (type, subject, about_tenant, data)
    VALUES ('platform.apg.bf.' || event_type, record_event.subject, record_event.about_tenant, record_event.data)
    RETURNING e.* INTO recorded;
    PERFORM bf_control.queue_event(recorded);
END
$function$;

-- The webhooks of a tenant's integrations are what its apg_integrations say, whoever has written them.
CREATE FUNCTION bf_control.keep_integration_webhooks(of_tenant text, integrations jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    -- Of audit_compliance: changes, and not what only tells how it goes.
    told CONSTANT jsonb := jsonb_build_object(
        'notification_engine', '[]'::jsonb,
        'audit_compliance', (
            SELECT jsonb_agg('platform.apg.bf.tenant.' || t.type)
              FROM unnest(ARRAY['created', 'activated', 'failed', 'suspended', 'resumed', 'deleted', 'restored', 'purged',
                                'updated', 'config.changed', 'features.changed', 'limits.changed',
                                'integrations.changed']) AS t(type)));
    wanted jsonb;
BEGIN
    SELECT coalesce(jsonb_object_agg(t.capability, integrations -> t.capability -> 'endpoint'), '{}') INTO wanted
      FROM jsonb_object_keys(told) AS t(capability)
     WHERE jsonb_typeof(integrations -> t.capability -> 'endpoint') = 'string'
       AND length(integrations -> t.capability ->> 'endpoint') BETWEEN 1 AND 2048
       AND integrations -> t.capability -> 'enabled' IS DISTINCT FROM 'false';
    DELETE FROM bf_control.webhook w
     WHERE w.about_tenant = of_tenant AND w.capability IS NOT NULL AND NOT wanted ? w.capability;
    INSERT INTO bf_control.webhook AS w (url, event_types, about_tenant, capability, created_by)
    SELECT e.url, ARRAY(SELECT jsonb_array_elements_text(told -> e.capability)), of_tenant, e.capability, session_user
      FROM jsonb_each_text(wanted) AS e(capability, url)
        ON CONFLICT (about_tenant, capability) DO UPDATE
       SET url = EXCLUDED.url, disabled_at = NULL, disabled_reason = NULL, failing_since = NULL
     WHERE w.url <> EXCLUDED.url OR w.disabled_at IS NOT NULL;
END
$function$;

-- AFTER INSERT, DELETE, or UPDATE OF state of a tenant. What the making or restoring of one does in its transaction is
-- no event by itself.
CREATE FUNCTION bf_control.tenant_event() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    found bf_control.tenant;
    kind text;
    by_whom text := nullif(current_setting('app.current_user_id', true), '');
    before text;
BEGIN
    IF TG_OP = 'DELETE' THEN
        found := OLD;
        kind := 'purged';
        before := OLD.state;
    ELSE
        found := NEW;
        kind := 'created';
        by_whom := coalesce(CASE WHEN TG_OP = 'INSERT' THEN NEW.created_by
                                 WHEN NEW.state_changed_at = now() THEN NEW.state_changed_by END, by_whom);
    END IF;
    IF TG_OP = 'UPDATE' THEN
        before := OLD.state;
        kind := CASE WHEN NEW.state = 'failed' THEN 'failed'
                     WHEN NEW.state = 'deleted' AND OLD.state IN ('active', 'suspended') THEN 'deleted'
                     WHEN OLD.state IN ('deleted', 'purging') AND NEW.state IN ('active', 'suspended') THEN 'restored'
                     WHEN OLD.state IN ('provisioning', 'failed') AND NEW.state = 'suspended' THEN 'restored'
                     WHEN OLD.state IN ('provisioning', 'failed') AND NEW.state = 'active' THEN 'activated'
                     WHEN NEW.state = 'suspended' THEN 'suspended'
                     WHEN OLD.state = 'suspended' AND NEW.state = 'active' THEN 'resumed' END;
        IF kind = 'resumed' AND EXISTS (
            SELECT FROM bf_control.event e
             WHERE e.occurred_at = now() AND e.about_tenant = NEW.tenant_id AND e.type = 'platform.apg.bf.tenant.restored')
        THEN
            kind := NULL;
        END IF;
    END IF;
    IF kind IS NOT NULL THEN
        PERFORM bf_control.record_event(
            'tenant.' || kind, 'tenant/' || found.tenant_id, found.tenant_id,
            jsonb_build_object('tenant_id', found.tenant_id, 'tenant_name', found.tenant_name,
                               'generation', found.generation,
                               'state', CASE WHEN TG_OP <> 'DELETE' THEN found.state END,
                               'previous_state', before, 'actor', by_whom,
                               'reason', CASE WHEN TG_OP = 'UPDATE' THEN found.state_reason END,
                               'error', CASE WHEN kind = 'failed' THEN found.error END));
    END IF;
    IF TG_OP = 'DELETE' THEN
        DELETE FROM bf_control.webhook w WHERE w.about_tenant = OLD.tenant_id AND w.capability IS NOT NULL;
        UPDATE bf_control.webhook w SET disabled_at = now(), disabled_reason = 'tenant_purged'
         WHERE w.about_tenant = OLD.tenant_id AND w.disabled_at IS NULL;
    END IF;
    RETURN NULL;
END
$function$;

CREATE TRIGGER tenant_event AFTER INSERT OR DELETE ON bf_control.tenant
    FOR EACH ROW EXECUTE FUNCTION bf_control.tenant_event();

CREATE TRIGGER tenant_state_event AFTER UPDATE OF state ON bf_control.tenant
    FOR EACH ROW WHEN (NEW.state <> OLD.state) EXECUTE FUNCTION bf_control.tenant_event();

-- AFTER INSERT of a version of tenant_config, which every change of it makes, SQL's too. A backup that is restored
-- brings versions of another time with it: those have been told.
CREATE FUNCTION bf_control.tenant_config_event() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    common CONSTANT jsonb := jsonb_build_object(
        'tenant_id', NEW.tenant_id, 'version', NEW.version, 'source', NEW.source,
        'actor', coalesce(NEW.user_context, NEW.database_user), 'reason', NEW.reason);
    told CONSTANT text := 'tenant/' || NEW.tenant_id;
    before jsonb := coalesce(NEW.before, '{}');
    fields jsonb;
    recorded bf_control.event;
BEGIN
    IF before -> 'apg_integrations' IS DISTINCT FROM NEW.after -> 'apg_integrations' THEN
        PERFORM bf_control.keep_integration_webhooks(NEW.tenant_id, NEW.after -> 'apg_integrations');
    END IF;
    IF EXISTS (SELECT FROM bf_control.tenant_config_history h
                WHERE h.tenant_id = NEW.tenant_id AND h.before IS NULL AND h.changed_at = now()) THEN
        -- It is being made: its integrations are told of that as well.
        FOR recorded IN SELECT e.* FROM bf_control.event e
                         WHERE e.occurred_at = now() AND e.about_tenant = NEW.tenant_id ORDER BY e.seq LOOP
            PERFORM bf_control.queue_event(recorded);
        END LOOP;
        RETURN NULL;
    END IF;
    SELECT jsonb_agg(k.name ORDER BY k.name) INTO fields FROM jsonb_object_keys(NEW.after) AS k(name)
     WHERE before -> k.name IS DISTINCT FROM NEW.after -> k.name;
    IF fields ?| ARRAY['tenant_name', 'subscription_tier', 'billing_contact'] THEN
        PERFORM bf_control.record_event('tenant.updated', told, NEW.tenant_id, common || jsonb_build_object(
            'fields', (SELECT jsonb_agg(f.name) FROM jsonb_array_elements_text(fields) AS f(name)
                        WHERE f.name IN ('tenant_name', 'subscription_tier', 'billing_contact'))));
    END IF;
    IF 'configuration' = ANY (NEW.documents) THEN
        PERFORM bf_control.record_event('tenant.config.changed', told, NEW.tenant_id, common || jsonb_build_object(
            'fields', fields - ARRAY['tenant_id', 'tenant_name', 'is_active', 'subscription_tier', 'billing_contact',
                                     'created_at', 'features_enabled', 'max_budget_lines', 'forecast_horizon_limit',
                                     'concurrent_users_limit', 'usage_limits', 'apg_integrations']));
    END IF;
    IF 'features' = ANY (NEW.documents) THEN
        PERFORM bf_control.record_event('tenant.features.changed', told, NEW.tenant_id, common || jsonb_build_object(
            'enabled', (SELECT coalesce(jsonb_agg(n.name ORDER BY n.name), '[]')
                          FROM jsonb_array_elements_text(NEW.after -> 'features_enabled') AS n(name)
                         WHERE NOT before -> 'features_enabled' ? n.name),
            'disabled', (SELECT coalesce(jsonb_agg(n.name ORDER BY n.name), '[]')
                           FROM jsonb_array_elements_text(before -> 'features_enabled') AS n(name)
                          WHERE NOT NEW.after -> 'features_enabled' ? n.name)));
    END IF;
    IF 'limits' = ANY (NEW.documents) THEN
        PERFORM bf_control.record_event('tenant.limits.changed', told, NEW.tenant_id, common || jsonb_build_object(
            'limits', (
                SELECT jsonb_object_agg(n.name, jsonb_build_object('before', n.was, 'after', n.is_now))
                  FROM (SELECT coalesce(o.key, a.key) AS name, o.value AS was, a.value AS is_now
                          FROM jsonb_each((before -> 'usage_limits') || before) AS o
                          FULL JOIN jsonb_each((NEW.after -> 'usage_limits') || NEW.after) AS a ON a.key = o.key) AS n
                 WHERE n.was IS DISTINCT FROM n.is_now
                   AND (n.name IN ('max_budget_lines', 'forecast_horizon_limit', 'concurrent_users_limit')
                        OR (before -> 'usage_limits') ? n.name OR (NEW.after -> 'usage_limits') ? n.name))));
    END IF;
    IF 'integrations' = ANY (NEW.documents) THEN
        PERFORM bf_control.record_event('tenant.integrations.changed', told, NEW.tenant_id, common || jsonb_build_object(
            'capabilities', (
                SELECT jsonb_agg(n.name ORDER BY n.name)
                  FROM jsonb_object_keys((before -> 'apg_integrations') || (NEW.after -> 'apg_integrations')) AS n(name)
                 WHERE before -> 'apg_integrations' -> n.name IS DISTINCT FROM NEW.after -> 'apg_integrations' -> n.name)));
    END IF;
    RETURN NULL;
END
$function$;

CREATE TRIGGER tenant_config_event AFTER INSERT ON bf_control.tenant_config_history
    FOR EACH ROW WHEN (NEW.changed_at = now()) EXECUTE FUNCTION bf_control.tenant_config_event();

-- AFTER INSERT of a limit that was reached.
CREATE FUNCTION bf_control.usage_event_event() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    PERFORM bf_control.record_event(
        'tenant.limit.reached', 'tenant/' || NEW.tenant_id, NEW.tenant_id,
        jsonb_build_object('tenant_id', NEW.tenant_id, 'limit', NEW.limit_name, 'percentage', NEW.percentage,
                           'used', NEW.used, 'allowed', NEW.allowed));
    RETURN NULL;
END
$function$;

CREATE TRIGGER usage_event_event AFTER INSERT ON bf_control.usage_event
    FOR EACH ROW EXECUTE FUNCTION bf_control.usage_event_event();

-- AFTER INSERT of the last thing that is seen of an operation.
CREATE FUNCTION bf_control.operation_ended_event() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    ended bf_control.operation;
BEGIN
    SELECT o.* INTO ended FROM bf_control.operation o WHERE o.id = NEW.operation_id;
    PERFORM bf_control.record_event(
        'operation.' || NEW.event, 'operation/' || ended.id, ended.tenant_id,
        jsonb_build_object('operation_id', ended.id, 'kind', ended.kind, 'tenant_id', ended.tenant_id,
                           'status', ended.status, 'created_at', ended.created_at, 'started_at', ended.started_at,
                           'finished_at', ended.finished_at, 'actor', ended.actor, 'request_id', ended.request_id,
                           'error', ended.error));
    RETURN NULL;
END
$function$;

CREATE TRIGGER operation_ended_event AFTER INSERT ON bf_control.operation_event
    FOR EACH ROW WHEN (NEW.event IN ('succeeded', 'failed', 'cancelled'))
    EXECUTE FUNCTION bf_control.operation_ended_event();

DO $backfill$
DECLARE
    shared_schema text := (SELECT s.value FROM bf_control.setting s WHERE s.name = 'shared_schema');
BEGIN
    IF shared_schema IS NOT NULL THEN
        EXECUTE format('SELECT bf_control.keep_integration_webhooks(c.tenant_id, c.apg_integrations) FROM %I.tenant_config c
                         WHERE c.apg_integrations ?| $1', shared_schema)
          USING ARRAY['notification_engine', 'audit_compliance'];
    END IF;
END
$backfill$;

REVOKE ALL ON FUNCTION bf_control.queue_event(bf_control.event), bf_control.record_event(text, text, text, jsonb),
    bf_control.keep_integration_webhooks(text, jsonb), bf_control.tenant_event(), bf_control.tenant_config_event(),
    bf_control.usage_event_event(), bf_control.operation_ended_event() FROM PUBLIC;
