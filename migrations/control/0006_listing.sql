-- What lists and searches of the registry walk. Only adds: processes of the release before go on beside it, with the
-- indexes they have.

-- Each filter with each order, so that a page is read from one place of one index, however many rows there are.
-- Deleted tenants are listed on demand alone: the others have indexes without them.
CREATE INDEX tenant_listed_id_idx ON bf_control.tenant (tenant_id) WHERE state <> 'deleted';
CREATE INDEX tenant_listed_name_idx ON bf_control.tenant (tenant_name, tenant_id) WHERE state <> 'deleted';
CREATE INDEX tenant_listed_created_idx ON bf_control.tenant (created_at, tenant_id) WHERE state <> 'deleted';

CREATE INDEX tenant_state_name_idx ON bf_control.tenant (state, tenant_name, tenant_id);
CREATE INDEX tenant_state_created_idx ON bf_control.tenant (state, created_at, tenant_id);

CREATE INDEX tenant_listed_tier_id_idx ON bf_control.tenant (subscription_tier, tenant_id) WHERE state <> 'deleted';
CREATE INDEX tenant_listed_tier_name_idx ON bf_control.tenant (subscription_tier, tenant_name, tenant_id)
    WHERE state <> 'deleted';
CREATE INDEX tenant_listed_tier_created_idx ON bf_control.tenant (subscription_tier, created_at, tenant_id)
    WHERE state <> 'deleted';

CREATE INDEX tenant_listed_version_id_idx ON bf_control.tenant (schema_version, tenant_id)
    WHERE state <> 'deleted' AND schema_version IS NOT NULL;
CREATE INDEX tenant_listed_version_name_idx ON bf_control.tenant (schema_version, tenant_name, tenant_id)
    WHERE state <> 'deleted' AND schema_version IS NOT NULL;
CREATE INDEX tenant_listed_version_created_idx ON bf_control.tenant (schema_version, created_at, tenant_id)
    WHERE state <> 'deleted' AND schema_version IS NOT NULL;

-- Every three characters that follow each other in `words`. An index over them needs no extension, which a server may
-- not have and its migration user may not create. A loop: it takes a third of the time of a query over generate_series.
CREATE FUNCTION bf_control.trigrams(words text) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    found text[] := '{}';
BEGIN
    FOR place IN 1 .. length(words) - 2 LOOP
        found := found || substr(words, place, 3);
    END LOOP;
    RETURN found;
END
$function$;

-- New entries go to a list first, of a thousand tenants at most: one by one they would cost more than all other indexes.
CREATE INDEX tenant_search_idx ON bf_control.tenant
    USING gin (bf_control.trigrams(tenant_id || E'\n' || lower(tenant_name))) WITH (gin_pending_list_limit = 1024);

-- Which tenants that are not deleted have a feature, in each order of a list: an index over an array has no order.
CREATE TABLE bf_control.listed_feature (
    feature text COLLATE "C" NOT NULL,
    tenant_id varchar(36) COLLATE "C" NOT NULL,
    tenant_name varchar(255) NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT listed_feature_pkey PRIMARY KEY (feature, tenant_id)
);

COMMENT ON TABLE bf_control.listed_feature IS 'A copy of tenant.features, a row for each, kept by a trigger';

CREATE INDEX listed_feature_name_idx ON bf_control.listed_feature (feature, tenant_name, tenant_id);
CREATE INDEX listed_feature_created_idx ON bf_control.listed_feature (feature, created_at, tenant_id);

INSERT INTO bf_control.listed_feature (feature, tenant_id, tenant_name, created_at)
SELECT DISTINCT f.feature, t.tenant_id, t.tenant_name, t.created_at
  FROM bf_control.tenant t CROSS JOIN LATERAL unnest(t.features) AS f(feature)
 WHERE t.state <> 'deleted' AND f.feature ~ '^[a-z][a-z0-9_]{0,62}$';

-- Names that no filter can ask for, which SQL may have put there, are left out.
CREATE FUNCTION bf_control.list_features() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    before text[] := '{}';
    after text[] := '{}';
BEGIN
    IF TG_OP <> 'INSERT' AND OLD.state <> 'deleted' THEN
        before := OLD.features;
    END IF;
    IF TG_OP <> 'DELETE' AND NEW.state <> 'deleted' THEN
        after := array_remove(NEW.features, NULL);
    END IF;
    IF TG_OP <> 'INSERT' THEN
        DELETE FROM bf_control.listed_feature l
         WHERE l.tenant_id = OLD.tenant_id AND l.feature = ANY (before) AND l.feature <> ALL (after);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO bf_control.listed_feature AS l (feature, tenant_id, tenant_name, created_at)
        SELECT DISTINCT f.feature, NEW.tenant_id, NEW.tenant_name, NEW.created_at FROM unnest(after) AS f(feature)
         WHERE f.feature ~ '^[a-z][a-z0-9_]{0,62}$'
            ON CONFLICT (feature, tenant_id) DO UPDATE
           SET tenant_name = excluded.tenant_name, created_at = excluded.created_at
         WHERE (l.tenant_name, l.created_at) IS DISTINCT FROM (excluded.tenant_name, excluded.created_at);
    END IF;
    RETURN NULL;
END
$function$;

CREATE TRIGGER tenant_listed AFTER INSERT ON bf_control.tenant
    FOR EACH ROW WHEN (NEW.features <> '{}') EXECUTE FUNCTION bf_control.list_features();

CREATE TRIGGER tenant_listed_anew AFTER UPDATE ON bf_control.tenant
    FOR EACH ROW WHEN ((OLD.features <> '{}' OR NEW.features <> '{}')
                       AND (OLD.features <> NEW.features OR OLD.tenant_name <> NEW.tenant_name
                            OR OLD.created_at <> NEW.created_at
                            OR (OLD.state = 'deleted') <> (NEW.state = 'deleted')))
    EXECUTE FUNCTION bf_control.list_features();

CREATE TRIGGER tenant_unlisted AFTER DELETE ON bf_control.tenant
    FOR EACH ROW WHEN (OLD.features <> '{}') EXECUTE FUNCTION bf_control.list_features();

REVOKE ALL ON FUNCTION bf_control.trigrams(text), bf_control.list_features() FROM PUBLIC;
