-- Features: the catalogue, what tenants have of their own, and what follows from both. Only adds: processes of the
-- release before go on beside it.

CREATE TABLE bf_control.feature (
    name varchar(63) COLLATE "C" NOT NULL CONSTRAINT feature_pkey PRIMARY KEY,
    description text NOT NULL DEFAULT '',
    tier varchar(20) COLLATE "C" CONSTRAINT feature_tier_fkey REFERENCES bf_control.tier (name),
    enabled_by_default boolean NOT NULL DEFAULT false,
    requires text[] COLLATE "C" NOT NULL DEFAULT '{}',
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT feature_name_check CHECK (name ~ '^[a-z][a-z0-9_]{0,62}$'),
    CONSTRAINT feature_requires_check CHECK (array_position(requires, NULL) IS NULL)
);

COMMENT ON COLUMN bf_control.feature.tier IS 'The lowest tier that includes it; NULL: none does';
COMMENT ON COLUMN bf_control.feature.requires IS 'Names of the features it cannot do without';

CREATE INDEX feature_tier_idx ON bf_control.feature (tier);

-- Nothing of it is in the tiers basic and standard: a tenant that asked for nothing has nothing.
INSERT INTO bf_control.feature (name, description, tier, requires)
VALUES ('advanced_forecasting', 'Forecasts by several methods, with confidence intervals', 'professional', '{}'),
       ('budget_templates', 'Budgets from templates, own and shared ones', 'professional', '{}'),
       ('scenario_planning', 'What-if scenarios beside budget and forecast', 'professional', '{}'),
       ('variance_analysis', 'Where actuals leave the budget, and why', 'professional', '{}'),
       ('ai_insights', 'Findings and recommendations by AI', 'premium', '{}'),
       ('ai_forecasting', 'Forecasts by AI models', 'premium', '{advanced_forecasting}'),
       ('industry_benchmarking', 'Comparison with figures of the industry', 'premium', '{}'),
       ('real_time_collaboration', 'Several people in one budget at a time', 'enterprise', '{}');

-- A feature may be any name: plain SQL may enable one that the catalogue does not know.
CREATE TABLE bf_control.tenant_feature (
    tenant_id varchar(36) COLLATE "C" NOT NULL,
    feature text COLLATE "C" NOT NULL,
    enabled boolean NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT tenant_feature_pkey PRIMARY KEY (tenant_id, feature),
    CONSTRAINT tenant_feature_tenant_fkey FOREIGN KEY (tenant_id)
        REFERENCES bf_control.tenant (tenant_id) ON DELETE CASCADE
);

COMMENT ON TABLE bf_control.tenant_feature IS
    'What a tenant has, or has not, whatever its tier includes; tenant_config.features_enabled has what follows';

-- What the catalogue gives a tenant of this tier. A tier that it does not know includes nothing.
CREATE FUNCTION bf_control.included_features(wanted_tier text) RETURNS TABLE (name text, source text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT f.name::text, CASE WHEN f.enabled_by_default THEN 'default' ELSE 'tier' END
      FROM bf_control.feature f
      LEFT JOIN bf_control.tier lowest ON lowest.name = f.tier
      LEFT JOIN bf_control.tier has ON has.name = wanted_tier
     WHERE f.enabled_by_default OR lowest.rank <= has.rank
$function$;

-- The names that are enabled for a tenant of this tier, sorted.
CREATE FUNCTION bf_control.effective_features(wanted text, wanted_tier text) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT ARRAY(SELECT coalesce(o.feature, i.name) COLLATE "C" AS name
                   FROM bf_control.included_features(wanted_tier) AS i
                   FULL JOIN (SELECT f.feature, f.enabled FROM bf_control.tenant_feature f
                               WHERE f.tenant_id = wanted) AS o ON o.feature = i.name
                  WHERE coalesce(o.enabled, true) ORDER BY 1)
$function$;

-- The names in a value of features_enabled, sorted; NULL where it is not an array of strings.
CREATE FUNCTION bf_control.feature_names(document jsonb) RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT CASE WHEN jsonb_typeof(document) = 'array'
                     AND NOT jsonb_path_exists(document, 'strict $[*] ? (@.type() != "string")', '{}', true)
                THEN ARRAY(SELECT DISTINCT e.name COLLATE "C" FROM jsonb_array_elements_text(document) AS e(name)
                            ORDER BY 1) END
$function$;

-- A value of features_enabled with just these names: those that are there stay where they are, others follow.
CREATE FUNCTION bf_control.with_features(document jsonb, names text[]) RETURNS jsonb
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT coalesce(jsonb_agg(n.name ORDER BY e.position, n.name), '[]')
      FROM unnest(names) AS n(name)
      LEFT JOIN (SELECT d.name, min(d.position) AS position
                   FROM jsonb_array_elements_text(document) WITH ORDINALITY AS d(name, position)
                  GROUP BY d.name) AS e ON e.name = n.name
$function$;

-- Makes the tenant's own what differs from what the catalogue gives it, so that just `names` are enabled. Those that
-- are `asked` for by name become its own also where the tier includes them.
CREATE FUNCTION bf_control.override_features(wanted text, wanted_tier text, names text[], asked text[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    included text[] := ARRAY(SELECT i.name FROM bf_control.included_features(wanted_tier) AS i);
BEGIN
    DELETE FROM bf_control.tenant_feature f
     WHERE f.tenant_id = wanted AND f.enabled <> (f.feature = ANY (names));
    INSERT INTO bf_control.tenant_feature (tenant_id, feature, enabled)
    SELECT wanted, n.name, true FROM unnest(names) AS n(name)
     WHERE n.name = ANY (asked) OR n.name <> ALL (included)
     UNION ALL
    SELECT wanted, i.name, false FROM unnest(included) AS i(name) WHERE i.name <> ALL (names)
        ON CONFLICT DO NOTHING;
END
$function$;

-- BEFORE INSERT OR UPDATE of tenant_config, after tenant_config_check. Names that are put into features_enabled, or
-- taken out, become the tenant's own; another tier brings what it includes. A value that is what follows already was
-- computed, not written by hand.
CREATE FUNCTION bf_control.tenant_config_features() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    names text[] := bf_control.feature_names(NEW.features_enabled);
    before text[] := '{}';
    effective text[];
BEGIN
    IF names IS NULL THEN
        RETURN NEW; -- for the CHECK to refuse
    END IF;
    IF TG_OP = 'INSERT' THEN
        DELETE FROM bf_control.tenant_feature f WHERE f.tenant_id = NEW.tenant_id; -- of an earlier tenant of this id
    ELSIF NEW.features_enabled = OLD.features_enabled AND NEW.subscription_tier = OLD.subscription_tier THEN
        RETURN NEW;
    END IF;
    effective := bf_control.effective_features(NEW.tenant_id, NEW.subscription_tier);
    IF (TG_OP = 'INSERT' AND names = '{}') OR (TG_OP = 'UPDATE' AND NEW.features_enabled = OLD.features_enabled) THEN
        NEW.features_enabled := bf_control.with_features(NEW.features_enabled, effective);
    ELSIF names <> effective OR OLD.created_at = now() THEN
        -- What is written in the transaction that makes the tenant was asked for, all of it.
        IF TG_OP = 'UPDATE' AND OLD.created_at <> now() THEN
            before := bf_control.feature_names(OLD.features_enabled);
        END IF;
        PERFORM bf_control.override_features(NEW.tenant_id, NEW.subscription_tier, names,
                                             ARRAY(SELECT unnest(names) EXCEPT SELECT unnest(before)));
    END IF;
    IF TG_OP = 'INSERT' THEN -- from the first update on, tenant_config_record() keeps this copy
        UPDATE bf_control.tenant t SET features = bf_control.feature_names(NEW.features_enabled)
         WHERE t.tenant_id = NEW.tenant_id AND NEW.features_enabled <> '[]';
    END IF;
    RETURN NEW;
END
$function$;

-- What tenants have when the trigger above begins to watch is theirs: an upgrade switches nothing on or off.
CREATE FUNCTION bf_control.keep_features() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    EXECUTE format($$
        SELECT bf_control.override_features(c.tenant_id, c.subscription_tier,
                                            bf_control.feature_names(c.features_enabled), '{}')
          FROM %I.tenant_config c
         WHERE c.features_enabled <> '[]'
            OR EXISTS (SELECT FROM bf_control.included_features(c.subscription_tier))$$,
        bf_control.setting_of('shared_schema'));
END
$function$;

-- One feature of a tenant, whose tenant_config is locked: its own from now on, or (`enabled` is NULL) the tier's to
-- decide. features_enabled follows.
CREATE FUNCTION bf_control.set_feature(wanted text, feature_name text, enabled boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    shared_schema text := bf_control.setting_of('shared_schema');
    kept jsonb;
    tier text;
    names text[];
BEGIN
    EXECUTE format('SELECT c.features_enabled, c.subscription_tier FROM %I.tenant_config c WHERE c.tenant_id = $1',
                   shared_schema) INTO STRICT kept, tier USING wanted;
    IF enabled IS NULL THEN
        DELETE FROM bf_control.tenant_feature f WHERE f.tenant_id = wanted AND f.feature = feature_name;
    ELSE
        INSERT INTO bf_control.tenant_feature AS f (tenant_id, feature, enabled)
        VALUES (wanted, feature_name, set_feature.enabled)
            ON CONFLICT (tenant_id, feature) DO UPDATE SET enabled = EXCLUDED.enabled, updated_at = now();
    END IF;
    names := array_remove(bf_control.feature_names(kept), feature_name);
    IF coalesce(enabled, EXISTS (SELECT FROM bf_control.included_features(tier) AS i WHERE i.name = feature_name)) THEN
        names := names || feature_name;
    END IF;
    EXECUTE format('UPDATE %I.tenant_config c SET features_enabled = $2 WHERE c.tenant_id = $1 AND c.features_enabled <> $2',
                   shared_schema) USING wanted, bf_control.with_features(kept, names);
END
$function$;

-- The features of a tenant that has a schema: those of the catalogue, and those that only the tenant knows.
CREATE FUNCTION bf_control.tenant_features(wanted text)
RETURNS TABLE (name text, enabled boolean, source text, known boolean, requires text[])
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT n.name, n.name = ANY (t.features),
           CASE WHEN o.feature IS NOT NULL THEN 'tenant'
                WHEN (i.name IS NOT NULL) <> (n.name = ANY (t.features)) THEN 'tenant'
                ELSE coalesce(i.source, 'default') END,
           f.name IS NOT NULL, coalesce(f.requires, '{}')
      FROM bf_control.tenant t
     CROSS JOIN LATERAL (SELECT k.name::text COLLATE "C" FROM bf_control.feature k
                          UNION SELECT unnest(t.features) COLLATE "C"
                          UNION SELECT p.feature FROM bf_control.tenant_feature p WHERE p.tenant_id = wanted) AS n(name)
      LEFT JOIN bf_control.feature f ON f.name = n.name
      LEFT JOIN bf_control.tenant_feature o ON o.tenant_id = wanted AND o.feature = n.name
      LEFT JOIN bf_control.included_features(t.subscription_tier) AS i ON i.name = n.name
     WHERE t.tenant_id = wanted AND t.schema_version IS NOT NULL
     ORDER BY n.name
$function$;

-- the catalogue changes ------------------------------------------------------------------------------

-- BEFORE a change of the catalogue: nobody writes tenant_config until it is committed, so that no tenant follows
-- from the catalogue as it was. Its readers go on.
CREATE FUNCTION bf_control.catalogue_lock() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    shared_schema text := (SELECT s.value FROM bf_control.setting s WHERE s.name = 'shared_schema');
BEGIN
    IF shared_schema IS NOT NULL THEN
        EXECUTE format('LOCK TABLE %I.tenant_config IN EXCLUSIVE MODE', shared_schema);
    END IF;
    RETURN NULL;
END
$function$;

-- AFTER it: what is required is there, nothing requires itself, and tenants have what follows.
CREATE FUNCTION bf_control.catalogue_settle() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    shared_schema text := (SELECT s.value FROM bf_control.setting s WHERE s.name = 'shared_schema');
    wrong text;
BEGIN
    SELECT format('%s requires %s, which is not in the catalogue', f.name, r.name) INTO wrong
      FROM bf_control.feature f CROSS JOIN unnest(f.requires) AS r(name)
     WHERE NOT EXISTS (SELECT FROM bf_control.feature k WHERE k.name = r.name) LIMIT 1;
    IF wrong IS NULL THEN
        WITH RECURSIVE need(name, required) AS (
            SELECT f.name::text, unnest(f.requires) FROM bf_control.feature f
             UNION SELECT n.name, unnest(f.requires) FROM need n JOIN bf_control.feature f ON f.name = n.required)
        SELECT format('%s requires itself', n.name) INTO wrong FROM need n WHERE n.name = n.required LIMIT 1;
    END IF;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION '%', wrong USING ERRCODE = 'foreign_key_violation';
    END IF;
    PERFORM pg_notify('bf_feature', '');
    -- Without the trigger, which an upgrade brings, nothing is known of what is a tenant's own.
    IF shared_schema IS NULL OR NOT EXISTS (
        SELECT FROM pg_trigger g WHERE g.tgname = 'tenant_config_features'
                                   AND g.tgrelid = to_regclass(format('%I.tenant_config', shared_schema))) THEN
        RETURN NULL;
    END IF;
    EXECUTE format($$
        UPDATE %1$I.tenant_config c SET features_enabled = bf_control.with_features(c.features_enabled, n.names)
          FROM (SELECT o.tenant_id,
                       ARRAY(SELECT coalesce(p.feature, i.name) COLLATE "C"
                               FROM (SELECT f.name FROM bf_control.feature f
                                       LEFT JOIN bf_control.tier lowest ON lowest.name = f.tier
                                      WHERE f.enabled_by_default OR lowest.rank <= has.rank) AS i
                               FULL JOIN (SELECT q.feature, q.enabled FROM bf_control.tenant_feature q
                                           WHERE q.tenant_id = o.tenant_id) AS p ON p.feature = i.name
                              WHERE coalesce(p.enabled, true) ORDER BY 1) AS names
                  FROM %1$I.tenant_config o LEFT JOIN bf_control.tier has ON has.name = o.subscription_tier) AS n
         WHERE c.tenant_id = n.tenant_id AND bf_control.feature_names(c.features_enabled) <> n.names$$, shared_schema);
    RETURN NULL;
END
$function$;

CREATE TRIGGER feature_lock BEFORE INSERT OR UPDATE OR DELETE ON bf_control.feature
    FOR EACH STATEMENT EXECUTE FUNCTION bf_control.catalogue_lock();

CREATE TRIGGER feature_settle AFTER INSERT OR UPDATE OR DELETE ON bf_control.feature
    FOR EACH STATEMENT EXECUTE FUNCTION bf_control.catalogue_settle();

CREATE TRIGGER tier_lock BEFORE INSERT OR UPDATE OR DELETE ON bf_control.tier
    FOR EACH STATEMENT EXECUTE FUNCTION bf_control.catalogue_lock();

CREATE TRIGGER tier_settle AFTER INSERT OR UPDATE OR DELETE ON bf_control.tier
    FOR EACH STATEMENT EXECUTE FUNCTION bf_control.catalogue_settle();

-- Processes that keep answers listen on this channel; the payload is the tenant's id, or nothing for all of them.
CREATE FUNCTION bf_control.feature_notify() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    PERFORM pg_notify('bf_feature', CASE TG_OP WHEN 'DELETE' THEN OLD.tenant_id ELSE NEW.tenant_id END);
    RETURN NULL;
END
$function$;

CREATE TRIGGER tenant_feature_notify AFTER INSERT OR UPDATE OR DELETE ON bf_control.tenant_feature
    FOR EACH ROW EXECUTE FUNCTION bf_control.feature_notify();

CREATE TRIGGER tenant_features_changed AFTER UPDATE ON bf_control.tenant
    FOR EACH ROW WHEN (NEW.features <> OLD.features OR NEW.state <> OLD.state
                       OR NEW.subscription_tier <> OLD.subscription_tier)
    EXECUTE FUNCTION bf_control.feature_notify();

CREATE TRIGGER tenant_features_gone AFTER DELETE ON bf_control.tenant
    FOR EACH ROW EXECUTE FUNCTION bf_control.feature_notify();

REVOKE ALL ON FUNCTION bf_control.included_features(text), bf_control.effective_features(text, text),
    bf_control.feature_names(jsonb), bf_control.with_features(jsonb, text[]),
    bf_control.override_features(text, text, text[], text[]), bf_control.tenant_config_features(),
    bf_control.keep_features(), bf_control.set_feature(text, text, boolean), bf_control.tenant_features(text),
    bf_control.catalogue_lock(), bf_control.catalogue_settle(), bf_control.feature_notify() FROM PUBLIC;
