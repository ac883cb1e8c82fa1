-- Limits: what there is, what each tenant has, how much of it is used, and who is refused. Only adds: processes of
-- the release before go on beside it.
--
-- How rows are counted. A statement that adds or removes rows of a tenant appends one row to usage_delta, and updates
-- nothing that others need. At COMMIT a deferred trigger, fired for the transaction's first delta only, takes all of
-- them, adds them to the counters and refuses what goes over an enforced limit. So
--   * a counter's row is locked for the length of a COMMIT: two commits of one tenant settle one after the other, and
--     neither slips past;
--   * what is rolled back, to a savepoint too, was never counted;
--   * locks are taken in the order tenant_config, tenant, usage_counter by (tenant_id, limit_name).

-- the catalogue --------------------------------------------------------------------------------------

CREATE TABLE bf_control.usage_limit (
    name text COLLATE "C" NOT NULL CONSTRAINT usage_limit_pkey PRIMARY KEY,
    description text NOT NULL DEFAULT '',
    unit text NOT NULL,
    minimum bigint NOT NULL DEFAULT 0,
    maximum bigint NOT NULL,
    default_value bigint,
    enforcement text NOT NULL DEFAULT 'off',
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT usage_limit_name_check CHECK (name ~ '^[a-z][a-z0-9_]{0,62}$' AND name NOT IN ('sources', 'exceeded')),
    CONSTRAINT usage_limit_range_check CHECK (0 <= minimum AND minimum <= maximum AND maximum <= 1000000000000),
    CONSTRAINT usage_limit_default_check CHECK (default_value BETWEEN minimum AND maximum),
    CONSTRAINT usage_limit_enforcement_check CHECK (
        enforcement IN ('off', 'warn', 'enforce')
        AND (enforcement = 'off'
             OR name IN ('max_budgets', 'max_budget_lines', 'max_forecasts', 'max_scenarios',
                         'forecast_horizon_limit', 'max_forecast_horizon'))
    ),
    -- Of those that are columns of tenant_config: what the columns take.
    CONSTRAINT usage_limit_column_check CHECK (
        CASE name WHEN 'max_budget_lines' THEN default_value IS NOT NULL AND maximum <= 1000000000
                  WHEN 'forecast_horizon_limit' THEN default_value IS NOT NULL AND minimum >= 1 AND maximum <= 120
                  WHEN 'concurrent_users_limit' THEN default_value IS NOT NULL AND maximum <= 1000000
                  ELSE true END
    )
);

COMMENT ON COLUMN bf_control.usage_limit.default_value IS 'Of tenants whose tier says nothing else; NULL: no limit';
COMMENT ON COLUMN bf_control.usage_limit.enforcement IS
    'off: told, no more; warn: leaves an event at 80 and 100 percent; enforce: refuses what goes over as well';

INSERT INTO bf_control.usage_limit (name, description, unit, minimum, maximum, default_value, enforcement)
VALUES ('max_budgets', 'Budgets that are not deleted', 'count', 0, 1000000000, NULL, 'enforce'),
       ('max_budget_lines', 'Budget lines that are not deleted', 'count', 0, 1000000000, 100000, 'enforce'),
       ('max_forecasts', 'Forecasts that are not deleted', 'count', 0, 1000000000, NULL, 'enforce'),
       ('max_scenarios', 'Scenarios that are not deleted', 'count', 0, 1000000000, NULL, 'enforce'),
       ('forecast_horizon_limit', 'How far a forecast may reach', 'months', 1, 120, 60, 'enforce'),
       ('max_forecast_horizon', 'Another name of forecast_horizon_limit: the lower one holds', 'months', 1, 120, NULL, 'enforce'),
       ('concurrent_users_limit', 'Users at the same time; the application counts them', 'users', 0, 1000000, 100, 'off'),
       ('storage_mb', 'Tables and indexes of the tenant', 'MB', 0, 1000000000, NULL, 'off');

CREATE TABLE bf_control.usage_limit_tier (
    limit_name text COLLATE "C" NOT NULL
        CONSTRAINT usage_limit_tier_limit_fkey REFERENCES bf_control.usage_limit (name) ON DELETE CASCADE,
    tier varchar(20) COLLATE "C" NOT NULL
        CONSTRAINT usage_limit_tier_tier_fkey REFERENCES bf_control.tier (name) ON DELETE CASCADE,
    value bigint NOT NULL,
    CONSTRAINT usage_limit_tier_pkey PRIMARY KEY (limit_name, tier)
);

COMMENT ON TABLE bf_control.usage_limit_tier IS 'Where a tier has another value than the default';

-- tenants --------------------------------------------------------------------------------------------

CREATE TABLE bf_control.tenant_limit (
    tenant_id varchar(36) COLLATE "C" NOT NULL,
    limit_name text COLLATE "C" NOT NULL,
    value bigint NOT NULL,
    CONSTRAINT tenant_limit_pkey PRIMARY KEY (tenant_id, limit_name)
);

COMMENT ON TABLE bf_control.tenant_limit IS
    'Values of the tenant''s own, a copy of tenant_config: what is not here comes from the tier or the default';

CREATE TABLE bf_control.usage_counter (
    tenant_id varchar(36) COLLATE "C" NOT NULL,
    limit_name text COLLATE "C" NOT NULL,
    used bigint NOT NULL CONSTRAINT usage_counter_used_check CHECK (used >= 0),
    CONSTRAINT usage_counter_pkey PRIMARY KEY (tenant_id, limit_name)
);

COMMENT ON TABLE bf_control.usage_counter IS 'Rows of committed transactions that are not deleted';

-- Empty but for transactions under way: nothing of it need survive a crash.
CREATE UNLOGGED TABLE bf_control.usage_delta (
    xid xid8 NOT NULL,
    tenant_id varchar(36) COLLATE "C" NOT NULL,
    limit_name text COLLATE "C" NOT NULL,
    change bigint NOT NULL,
    horizon integer,
    is_first boolean NOT NULL
);

CREATE INDEX usage_delta_xid_idx ON bf_control.usage_delta (xid);

CREATE TABLE bf_control.usage_event (
    id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT usage_event_pkey PRIMARY KEY,
    tenant_id varchar(36) COLLATE "C" NOT NULL,
    limit_name text COLLATE "C" NOT NULL,
    percentage integer NOT NULL CONSTRAINT usage_event_percentage_check CHECK (percentage IN (80, 100)),
    used bigint NOT NULL,
    allowed bigint NOT NULL,
    occurred_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE INDEX usage_event_tenant_idx ON bf_control.usage_event (tenant_id, limit_name, percentage, occurred_at);

-- values ---------------------------------------------------------------------------------------------

-- What a tenant of the tier has that has nothing of its own; NULL: no limit.
CREATE FUNCTION bf_control.inherited_limit(wanted text, of_tier text) RETURNS bigint
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT coalesce(t.value, l.default_value)
      FROM bf_control.usage_limit l
      LEFT JOIN bf_control.usage_limit_tier t ON t.limit_name = l.name AND t.tier = of_tier
     WHERE l.name = wanted
$function$;

-- One event a day for each limit, value and percentage: use that goes up and down around one does not fill the table.
CREATE FUNCTION bf_control.usage_noted(of_tenant text, of_limit text, at_percentage integer, used bigint, allowed bigint)
RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp
AS $function$
    INSERT INTO bf_control.usage_event (tenant_id, limit_name, percentage, used, allowed)
    SELECT of_tenant, of_limit, at_percentage, usage_noted.used, usage_noted.allowed
     WHERE NOT EXISTS (SELECT FROM bf_control.usage_event e
                        WHERE e.tenant_id = of_tenant AND e.limit_name = of_limit AND e.percentage = at_percentage
                          AND e.allowed = usage_noted.allowed AND e.occurred_at > now() - interval '1 day')
$function$;

-- BF001 where use that has grown from `before` to `used` is over an enforced limit.
CREATE FUNCTION bf_control.usage_judge(of_tenant text, of_limit text, before bigint, used bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    allowed bigint;
    enforcement text;
    percentage integer;
BEGIN
    SELECT coalesce(o.value, b.value, l.default_value), l.enforcement INTO allowed, enforcement
      FROM bf_control.usage_limit l
      LEFT JOIN bf_control.tenant t ON t.tenant_id = of_tenant
      LEFT JOIN bf_control.tenant_limit o ON o.tenant_id = of_tenant AND o.limit_name = l.name
      LEFT JOIN bf_control.usage_limit_tier b ON b.limit_name = l.name AND b.tier = t.subscription_tier
     WHERE l.name = of_limit;
    IF allowed IS NULL OR enforcement = 'off' THEN
        RETURN;
    END IF;
    IF used > allowed AND enforcement = 'enforce' THEN
        RAISE EXCEPTION '% of tenant % is %, and % would be used', of_limit, of_tenant, allowed, used
            USING ERRCODE = 'BF001', CONSTRAINT = of_limit, SCHEMA = 'bf_control', TABLE = 'usage_limit',
                  HINT = 'Use less, or raise the limit of the tenant.';
    END IF;
    FOREACH percentage IN ARRAY ARRAY[80, 100] LOOP
        -- Of nothing allowed, one is all of it.
        IF before * 100 < percentage * greatest(allowed, 1) AND used * 100 >= percentage * greatest(allowed, 1) THEN
            PERFORM bf_control.usage_noted(of_tenant, of_limit, percentage, used, allowed);
        END IF;
    END LOOP;
END
$function$;

-- counting -------------------------------------------------------------------------------------------

-- AFTER INSERT or DELETE of a tenant's table, for each statement. Its argument is the limit that counts the rows. No
-- GROUP BY: the rows of a table are of one tenant, by its CHECK.
CREATE FUNCTION bf_control.usage_count() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $function$
DECLARE
    of_tenant text;
    rows bigint;
    horizon integer;
BEGIN
    IF TG_ARGV[0] = 'max_forecasts' THEN
        SELECT min(c.tenant_id), count(*), max(c.forecast_horizon_months) INTO of_tenant, rows, horizon
          FROM changed c WHERE c.is_deleted IS NOT TRUE;
    ELSE
        SELECT min(c.tenant_id), count(*) INTO of_tenant, rows FROM changed c WHERE c.is_deleted IS NOT TRUE;
    END IF;
    IF rows > 0 THEN
        INSERT INTO bf_control.usage_delta (xid, tenant_id, limit_name, change, horizon, is_first)
        VALUES (pg_current_xact_id(), of_tenant, TG_ARGV[0], CASE TG_OP WHEN 'INSERT' THEN rows ELSE -rows END,
                CASE TG_OP WHEN 'INSERT' THEN horizon END,
                NOT EXISTS (SELECT FROM bf_control.usage_delta d WHERE d.xid = pg_current_xact_id()));
    END IF;
    RETURN NULL;
END
$function$;

-- AFTER UPDATE, for each row that is deleted or undeleted softly, or whose horizon grows: transition tables would
-- hold every updated row, and a WHEN costs next to nothing.
CREATE FUNCTION bf_control.usage_change() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $function$
DECLARE
    horizon integer;
BEGIN
    IF TG_ARGV[0] = 'max_forecasts' AND NEW.is_deleted IS NOT TRUE THEN
        horizon := NEW.forecast_horizon_months;
    END IF;
    INSERT INTO bf_control.usage_delta (xid, tenant_id, limit_name, change, horizon, is_first)
    VALUES (pg_current_xact_id(), NEW.tenant_id, TG_ARGV[0],
            (NEW.is_deleted IS NOT TRUE)::integer - (OLD.is_deleted IS NOT TRUE)::integer, horizon,
            NOT EXISTS (SELECT FROM bf_control.usage_delta d WHERE d.xid = pg_current_xact_id()));
    RETURN NULL;
END
$function$;

-- AFTER TRUNCATE, which waits for whoever has written and lets nobody else in: the counter has all there was.
CREATE FUNCTION bf_control.usage_clear() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $function$
DECLARE
    of_tenant text := (SELECT t.tenant_id FROM bf_control.tenant t WHERE t.schema_name = TG_TABLE_SCHEMA);
    counted bigint;
BEGIN
    SELECT c.used INTO counted FROM bf_control.usage_counter c
     WHERE c.tenant_id = of_tenant AND c.limit_name = TG_ARGV[0] FOR UPDATE;
    IF counted IS NOT NULL THEN
        INSERT INTO bf_control.usage_delta (xid, tenant_id, limit_name, change, is_first)
        SELECT pg_current_xact_id(), of_tenant, TG_ARGV[0],
               -counted - coalesce(sum(d.change) FILTER (WHERE d.tenant_id = of_tenant AND d.limit_name = TG_ARGV[0]), 0),
               count(*) = 0
          FROM bf_control.usage_delta d WHERE d.xid = pg_current_xact_id();
    END IF;
    RETURN NULL;
END
$function$;

-- At COMMIT, once. In the order of the counters' key, so that two commits do not wait for each other.
CREATE FUNCTION bf_control.usage_settle() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $function$
DECLARE
    settled record;
    now_used bigint;
BEGIN
    FOR settled IN
        WITH taken AS (
            DELETE FROM bf_control.usage_delta d WHERE d.xid = pg_current_xact_id()
            RETURNING d.tenant_id, d.limit_name, d.change, d.horizon
        )
        SELECT t.tenant_id, t.limit_name, sum(t.change)::bigint AS change, max(t.horizon)::bigint AS horizon
          FROM taken t GROUP BY t.tenant_id, t.limit_name ORDER BY t.tenant_id, t.limit_name
    LOOP
        IF settled.change <> 0 THEN
            INSERT INTO bf_control.usage_counter AS c (tenant_id, limit_name, used)
            VALUES (settled.tenant_id, settled.limit_name, greatest(settled.change, 0))
                ON CONFLICT (tenant_id, limit_name) DO UPDATE SET used = greatest(c.used + settled.change, 0)
            RETURNING c.used INTO now_used;
            IF settled.change > 0 THEN
                PERFORM bf_control.usage_judge(
                    settled.tenant_id, settled.limit_name, now_used - settled.change, now_used);
            END IF;
        END IF;
        IF settled.horizon IS NOT NULL THEN
            PERFORM bf_control.usage_judge(settled.tenant_id, 'forecast_horizon_limit', 0, settled.horizon),
                    bf_control.usage_judge(settled.tenant_id, 'max_forecast_horizon', 0, settled.horizon);
        END IF;
    END LOOP;
    RETURN NULL;
END
$function$;

CREATE CONSTRAINT TRIGGER usage_settle AFTER INSERT ON bf_control.usage_delta DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.is_first) EXECUTE FUNCTION bf_control.usage_settle();

-- What a tenant's table holds at the moment from which its triggers count; before they are created. Nobody writes to
-- it from now on until the transaction ends. Under FORCE the owner sees no row: it is lifted for the count.
CREATE FUNCTION bf_control.usage_begin(of_tenant text, counted regclass, of_limit text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    forced boolean := (SELECT c.relforcerowsecurity FROM pg_class c WHERE c.oid = counted);
    rows bigint := 0;
BEGIN
    IF pg_relation_size(counted) = 0 THEN
        EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', counted);
    END IF;
    IF pg_relation_size(counted) > 0 THEN
        IF current_setting('transaction_isolation') <> 'read committed' THEN
            RAISE EXCEPTION 'rows that are already there can be counted at READ COMMITTED only'
                USING ERRCODE = 'invalid_transaction_state';
        END IF;
        EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', counted);
        IF forced THEN
            EXECUTE format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY', counted);
        END IF;
        EXECUTE format('SELECT count(*) FROM %s WHERE is_deleted IS NOT TRUE', counted) INTO rows;
        IF forced THEN
            EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', counted);
        END IF;
    END IF;
    INSERT INTO bf_control.usage_counter (tenant_id, limit_name, used) VALUES (of_tenant, of_limit, rows)
        ON CONFLICT (tenant_id, limit_name) DO UPDATE SET used = EXCLUDED.used;
END
$function$;

-- tenant_config --------------------------------------------------------------------------------------

-- BEFORE INSERT OR UPDATE: columns that are not the tenant's own follow its tier; new values are in their range.
CREATE FUNCTION bf_control.tenant_limits_check() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    own text[];
    wrong text;
BEGIN
    IF TG_OP = 'INSERT' THEN
        -- A column that has its default was not given.
        IF NEW.max_budget_lines = 100000 THEN
            NEW.max_budget_lines := bf_control.inherited_limit('max_budget_lines', NEW.subscription_tier);
        END IF;
        IF NEW.forecast_horizon_limit = 60 THEN
            NEW.forecast_horizon_limit := bf_control.inherited_limit('forecast_horizon_limit', NEW.subscription_tier);
        END IF;
        IF NEW.concurrent_users_limit = 100 THEN
            NEW.concurrent_users_limit := bf_control.inherited_limit('concurrent_users_limit', NEW.subscription_tier);
        END IF;
    ELSIF NEW.subscription_tier <> OLD.subscription_tier THEN
        own := ARRAY(SELECT o.limit_name FROM bf_control.tenant_limit o WHERE o.tenant_id = NEW.tenant_id);
        IF NEW.max_budget_lines = OLD.max_budget_lines AND 'max_budget_lines' <> ALL (own) THEN
            NEW.max_budget_lines := bf_control.inherited_limit('max_budget_lines', NEW.subscription_tier);
        END IF;
        IF NEW.forecast_horizon_limit = OLD.forecast_horizon_limit AND 'forecast_horizon_limit' <> ALL (own) THEN
            NEW.forecast_horizon_limit := bf_control.inherited_limit('forecast_horizon_limit', NEW.subscription_tier);
        END IF;
        IF NEW.concurrent_users_limit = OLD.concurrent_users_limit AND 'concurrent_users_limit' <> ALL (own) THEN
            NEW.concurrent_users_limit := bf_control.inherited_limit('concurrent_users_limit', NEW.subscription_tier);
        END IF;
    ELSIF NEW.usage_limits = OLD.usage_limits AND NEW.max_budget_lines = OLD.max_budget_lines
          AND NEW.forecast_horizon_limit = OLD.forecast_horizon_limit
          AND NEW.concurrent_users_limit = OLD.concurrent_users_limit THEN
        RETURN NEW;
    END IF;
    wrong := bf_control.wrong_limits(
        jsonb_build_object('max_budget_lines', NEW.max_budget_lines,
                           'forecast_horizon_limit', NEW.forecast_horizon_limit,
                           'concurrent_users_limit', NEW.concurrent_users_limit), true,
        CASE TG_OP WHEN 'UPDATE' THEN to_jsonb(OLD) ELSE '{}' END);
    IF wrong IS NULL AND jsonb_typeof(NEW.usage_limits) = 'object' THEN
        wrong := bf_control.wrong_limits(
            NEW.usage_limits, false, CASE TG_OP WHEN 'UPDATE' THEN OLD.usage_limits ELSE '{}' END);
    END IF;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION '%', wrong
            USING ERRCODE = 'check_violation', HINT = 'bf_control.usage_limit is the catalogue of limits.';
    END IF;
    RETURN NEW;
END
$function$;

-- What is wrong with the first of `given` that is no limit, or out of its range; NULL where nothing is. What it was
-- `before`, it may stay. `columns`: those that are columns of tenant_config, else those of usage_limits.
CREATE FUNCTION bf_control.wrong_limits(given jsonb, columns boolean, before jsonb) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT CASE WHEN l.name IS NULL AND columns IS FALSE
                THEN format('usage_limits has no member %s', quote_literal(g.name))
                ELSE format('%s takes whole numbers from %s to %s', g.name, l.minimum, l.maximum) END
      FROM jsonb_each(given) AS g(name, value)
      LEFT JOIN bf_control.usage_limit l
        ON l.name = g.name
       AND (l.name IN ('max_budget_lines', 'forecast_horizon_limit', 'concurrent_users_limit')) = columns
     WHERE g.value IS DISTINCT FROM before -> g.name
       AND CASE WHEN l.name IS NULL OR jsonb_typeof(g.value) <> 'number' OR g.value::text !~ '^[0-9]{1,15}$' THEN true
                ELSE g.value::text::bigint NOT BETWEEN l.minimum AND l.maximum END
     ORDER BY g.name LIMIT 1
$function$;

-- AFTER INSERT, UPDATE OR DELETE: the tenant's own values to where enforcement reads them. A column that is set to
-- what it would be without is nobody's own any longer, unless the tenant was created with it.
CREATE FUNCTION bf_control.tenant_limits_record() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    before jsonb := '{}';
    after jsonb;
    asked jsonb := '{}';
    over record;
BEGIN
    IF TG_OP = 'DELETE' THEN
        DELETE FROM bf_control.tenant_limit o WHERE o.tenant_id = OLD.tenant_id;
        DELETE FROM bf_control.usage_counter c WHERE c.tenant_id = OLD.tenant_id;
        DELETE FROM bf_control.usage_event e WHERE e.tenant_id = OLD.tenant_id;
        RETURN NULL;
    END IF;
    after := to_jsonb(NEW);
    IF TG_OP = 'UPDATE' THEN
        before := to_jsonb(OLD);
        IF NEW.subscription_tier = OLD.subscription_tier AND NEW.usage_limits = OLD.usage_limits
           AND NEW.max_budget_lines = OLD.max_budget_lines
           AND NEW.forecast_horizon_limit = OLD.forecast_horizon_limit
           AND NEW.concurrent_users_limit = OLD.concurrent_users_limit THEN
            RETURN NULL;
        END IF;
    ELSE
        DELETE FROM bf_control.tenant_limit o WHERE o.tenant_id = NEW.tenant_id; -- of an earlier one with this id
        SELECT t.initial_config INTO asked FROM bf_control.tenant t WHERE t.tenant_id = NEW.tenant_id;
    END IF;
    PERFORM bf_control.keep_limits(NEW.tenant_id, (
        SELECT jsonb_object_agg(c.name, CASE
                   WHEN asked ? c.name OR (after -> c.name)::bigint
                        IS DISTINCT FROM bf_control.inherited_limit(c.name, NEW.subscription_tier)
                   THEN after -> c.name ELSE 'null' END)
          FROM (VALUES ('max_budget_lines'), ('forecast_horizon_limit'), ('concurrent_users_limit')) AS c(name)
         WHERE before -> c.name IS DISTINCT FROM after -> c.name));
    IF before -> 'usage_limits' IS DISTINCT FROM after -> 'usage_limits' THEN
        PERFORM bf_control.keep_limits(NEW.tenant_id, coalesce((
            SELECT jsonb_object_agg(k.name, 'null'::jsonb)
              FROM jsonb_object_keys(before -> 'usage_limits') AS k(name)), '{}') || NEW.usage_limits);
    END IF;
    FOR over IN
        SELECT c.limit_name, c.used, coalesce(o.value, bf_control.inherited_limit(l.name, NEW.subscription_tier)) AS allowed
          FROM bf_control.usage_counter c
          JOIN bf_control.usage_limit l ON l.name = c.limit_name AND l.enforcement <> 'off'
          LEFT JOIN bf_control.tenant_limit o ON o.tenant_id = c.tenant_id AND o.limit_name = c.limit_name
         WHERE c.tenant_id = NEW.tenant_id
         ORDER BY c.limit_name
    LOOP
        IF over.used > over.allowed THEN
            RAISE WARNING '% of tenant % is % now, and % are used: there can be no more of them',
                over.limit_name, NEW.tenant_id, over.allowed, over.used;
            PERFORM bf_control.usage_noted(NEW.tenant_id, over.limit_name, 100, over.used, over.allowed);
        END IF;
    END LOOP;
    RETURN NULL;
END
$function$;

-- Of `values`, {"max_budgets": 500}: a number becomes the tenant's own, null is forgotten, anything else passed over.
CREATE FUNCTION bf_control.keep_limits(of_tenant text, given jsonb) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp
AS $function$
    DELETE FROM bf_control.tenant_limit o
     WHERE o.tenant_id = of_tenant AND given -> o.limit_name = 'null';
    INSERT INTO bf_control.tenant_limit (tenant_id, limit_name, value)
    SELECT of_tenant, l.name, g.value::text::bigint
      FROM jsonb_each(given) AS g(name, value) JOIN bf_control.usage_limit l ON l.name = g.name
     WHERE jsonb_typeof(g.value) = 'number' AND g.value::text ~ '^[0-9]{1,15}$'
        ON CONFLICT (tenant_id, limit_name) DO UPDATE SET value = EXCLUDED.value;
$function$;

-- Sets limits of a tenant: {"max_budgets": 500, "storage_mb": null}; null goes back to its tier's, or the default.
CREATE FUNCTION bf_control.change_limits(wanted text, changes jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    column_names CONSTANT text[] := ARRAY['max_budget_lines', 'forecast_horizon_limit', 'concurrent_users_limit'];
    settings jsonb := bf_control.tenant_settings(wanted);
    columns jsonb;
    others jsonb;
BEGIN
    IF settings IS NULL THEN
        RAISE EXCEPTION 'tenant % has no configuration', quote_nullable(wanted) USING ERRCODE = 'no_data_found';
    END IF;
    SELECT coalesce(jsonb_object_agg(c.name, CASE WHEN c.value = 'null'
               THEN to_jsonb(bf_control.inherited_limit(c.name, settings ->> 'subscription_tier')) ELSE c.value END), '{}')
      INTO columns FROM jsonb_each(changes) AS c(name, value) WHERE c.name = ANY (column_names);
    others := changes - column_names;
    EXECUTE format($$
        UPDATE %1$I.tenant_config c
           SET max_budget_lines = v.max_budget_lines, forecast_horizon_limit = v.forecast_horizon_limit,
               concurrent_users_limit = v.concurrent_users_limit, usage_limits = v.usage_limits
          FROM %1$I.tenant_config o CROSS JOIN LATERAL jsonb_populate_record(o, $2) AS v
         WHERE o.tenant_id = $1 AND c.tenant_id = o.tenant_id$$, bf_control.setting_of('shared_schema'))
      USING wanted, columns || jsonb_build_object('usage_limits', (
          SELECT coalesce(jsonb_object_agg(m.name, m.value), '{}')
            FROM jsonb_each((settings -> 'usage_limits') || others) AS m(name, value)
           WHERE NOT (others ? m.name AND m.value = 'null')));
    -- A column that already had the value is the tenant's own from now on.
    PERFORM bf_control.keep_limits(wanted, changes);
END
$function$;

-- After a change of what tiers have, or of the default: tenants without a value of their own get it, in their column.
-- Nobody changes a tenant meanwhile, or creates one with what was true before.
CREATE FUNCTION bf_control.hand_down_limit(wanted text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    shared_schema text := (SELECT s.value FROM bf_control.setting s WHERE s.name = 'shared_schema');
BEGIN
    IF shared_schema IS NULL OR wanted NOT IN ('max_budget_lines', 'forecast_horizon_limit', 'concurrent_users_limit') THEN
        RETURN;
    END IF;
    EXECUTE format('LOCK TABLE %I.tenant_config IN SHARE ROW EXCLUSIVE MODE', shared_schema);
    EXECUTE format($$
        UPDATE %1$I.tenant_config c SET %2$I = bf_control.inherited_limit(%2$L, c.subscription_tier)
         WHERE c.%2$I <> bf_control.inherited_limit(%2$L, c.subscription_tier)
           AND NOT EXISTS (SELECT FROM bf_control.tenant_limit o
                            WHERE o.tenant_id = c.tenant_id AND o.limit_name = %2$L)$$, shared_schema, wanted);
END
$function$;

REVOKE ALL ON FUNCTION bf_control.inherited_limit(text, text),
    bf_control.usage_noted(text, text, integer, bigint, bigint), bf_control.usage_judge(text, text, bigint, bigint),
    bf_control.usage_count(), bf_control.usage_change(), bf_control.usage_clear(), bf_control.usage_settle(),
    bf_control.usage_begin(text, regclass, text), bf_control.tenant_limits_check(),
    bf_control.wrong_limits(jsonb, boolean, jsonb), bf_control.tenant_limits_record(),
    bf_control.keep_limits(text, jsonb), bf_control.change_limits(text, jsonb),
    bf_control.hand_down_limit(text) FROM PUBLIC;
