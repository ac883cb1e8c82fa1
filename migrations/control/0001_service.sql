-- What the service itself keeps. Nothing here depends on the BF_* settings: their values are rows of
-- bf_control.setting, so that psql, which reads no environment, works with the same ones.

CREATE SCHEMA bf_control;

COMMENT ON SCHEMA bf_control IS 'APG Budgeting & Forecasting: tenant registry, operations, migration ledger';

-- ledger ---------------------------------------------------------------------------------------------

CREATE TABLE bf_control.migration (
    layer text NOT NULL CONSTRAINT migration_layer_check CHECK (layer IN ('control', 'shared', 'tenant')),
    version integer NOT NULL CONSTRAINT migration_version_check CHECK (version > 0),
    name text NOT NULL,
    checksum text NOT NULL CONSTRAINT migration_checksum_check CHECK (checksum ~ '^[0-9a-f]{64}$'),
    applied_at timestamptz NOT NULL DEFAULT now(),
    applied_by text NOT NULL DEFAULT session_user,
    CONSTRAINT migration_pkey PRIMARY KEY (layer, version)
);

COMMENT ON TABLE bf_control.migration IS
    'Applied files; of layer tenant: loaded into tenant_statement, while tenant.schema_version says who has it';

CREATE TABLE bf_control.setting (
    name text NOT NULL CONSTRAINT setting_pkey PRIMARY KEY,
    value text NOT NULL
);

COMMENT ON TABLE bf_control.setting IS 'The BF_* settings this database was made with';

CREATE FUNCTION bf_control.setting_of(setting_name text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    found text;
BEGIN
    SELECT s.value INTO found FROM bf_control.setting s WHERE s.name = setting_name;
    IF found IS NULL THEN
        RAISE EXCEPTION 'the shared schema is not installed (no setting %)', setting_name
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Run: bf-admin upgrade';
    END IF;
    RETURN found;
END
$function$;

-- What psql and Alembic ask before each file. True: apply it. False: it was, unchanged.
CREATE FUNCTION bf_control.migration_pending(layer text, version integer, name text, checksum text) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    applied bf_control.migration;
BEGIN
    SELECT m.* INTO applied FROM bf_control.migration m
     WHERE m.layer = migration_pending.layer AND m.version = migration_pending.version;
    IF applied.checksum IS NULL THEN
        RETURN true;
    END IF;
    IF applied.checksum <> migration_pending.checksum OR applied.name <> migration_pending.name THEN
        RAISE EXCEPTION 'migration %/%_% was edited after it was applied', migration_pending.layer,
            lpad(migration_pending.version::text, 4, '0'), migration_pending.name
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  DETAIL = format('Applied as %s with checksum %s; the file has %s.', applied.name,
                                  applied.checksum, migration_pending.checksum),
                  HINT = 'Put the file back as it was, and write the change as a new migration.';
    END IF;
    RETURN false;
END
$function$;

-- What every upgrade asks first. The settings must be those the database was made with, and the
-- database must not be ahead of the files: {"control": n, "shared": n, "tenant": n} are their latest.
CREATE FUNCTION bf_control.check_release(settings jsonb, latest jsonb DEFAULT NULL) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    differing text;
    ahead text;
BEGIN
    -- The other two settings say what an upgrade does once, not what the functions need.
    SELECT string_agg(format('%s is %s here, and %s in the database', 'BF_' || upper(v.variable),
                             check_release.settings ->> s.name, s.value), '; ' ORDER BY s.name) INTO differing
      FROM bf_control.setting s
      JOIN (VALUES ('shared_schema', 'schema_name'), ('app_role', 'app_role'), ('audit_role', 'audit_role'),
                   ('enable_rls', 'enable_rls')) AS v(name, variable) ON v.name = s.name
     WHERE s.value IS DISTINCT FROM check_release.settings ->> s.name;
    IF differing IS NOT NULL THEN
        RAISE EXCEPTION 'this database was made with other settings: %', differing
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Set the variables to what the database has.';
    END IF;
    SELECT string_agg(format('%s is at %s, the files at %s', m.layer, m.version,
                             check_release.latest ->> m.layer), '; ' ORDER BY m.layer) INTO ahead
      FROM (SELECT l.layer, max(l.version) AS version FROM bf_control.migration l GROUP BY l.layer) m
     WHERE m.version > (check_release.latest ->> m.layer)::integer;
    IF ahead IS NOT NULL THEN
        RAISE EXCEPTION 'the database is newer than this release: %', ahead
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Upgrade with the newer release.';
    END IF;
END
$function$;

-- roles ----------------------------------------------------------------------------------------------
-- Roles are cluster-wide: another database may create, comment or grant the same one at this moment.
-- Advisory locks do not reach across databases, so a concurrent creator is met by looking again, and
-- "tuple concurrently updated" (XX000) by a bounded retry.

-- The role must not be a member of `keep_from`, whose policies would then be its own.
CREATE FUNCTION bf_control.ensure_role(
    role_name text, purpose text, create_it boolean, keep_from text DEFAULT NULL
) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    mark text := 'APG Budgeting & Forecasting: ' || purpose;
    found pg_roles;
BEGIN
    IF to_regrole(quote_ident(role_name)) IS NULL THEN
        IF NOT create_it THEN
            RAISE EXCEPTION 'role % does not exist, and BF_CREATE_ROLES is false', quote_ident(role_name)
                USING ERRCODE = 'undefined_object',
                      HINT = format('CREATE ROLE %I NOLOGIN; or set BF_CREATE_ROLES=true', role_name);
        END IF;
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
            -- The comment marks the role as ours for the downgrade of whichever database is the last.
            EXECUTE format('COMMENT ON ROLE %I IS %L', role_name, mark);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL; -- somebody else was first: the check below looks at the role that is there
        END;
    END IF;
    SELECT r.* INTO STRICT found FROM pg_roles r WHERE r.rolname = role_name;
    IF found.rolsuper OR found.rolbypassrls THEN
        RAISE EXCEPTION 'role % would bypass row-level security', quote_ident(role_name)
            USING ERRCODE = 'invalid_role_specification',
                  HINT = format('ALTER ROLE %I NOSUPERUSER NOBYPASSRLS; or choose another role', role_name);
    END IF;
    IF pg_has_role(role_name, current_user, 'MEMBER') THEN
        RAISE EXCEPTION 'role % is or may become %, the owner of everything', quote_ident(role_name),
            quote_ident(current_user)
            USING ERRCODE = 'invalid_role_specification', HINT = 'Choose another role, or revoke the membership.';
    END IF;
    IF pg_has_role(role_name, keep_from, 'MEMBER') THEN
        RAISE EXCEPTION 'role % is a member of %, and would read every tenant', quote_ident(role_name),
            quote_ident(keep_from)
            USING ERRCODE = 'invalid_role_specification',
                  HINT = format('REVOKE %I FROM %I; or choose another role', keep_from, role_name);
    END IF;
END
$function$;

-- The owner reads over all rows as the audit role, for which it must be a member of it. From
-- PostgreSQL 16 on, a role made by somebody else cannot be granted: warn, and go on without.
CREATE FUNCTION bf_control.grant_role_to_owner(role_name text) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    wanted text := CASE WHEN current_setting('server_version_num')::integer >= 160000 THEN 'SET' ELSE 'MEMBER' END;
    attempts integer := 0;
BEGIN
    LOOP
        IF pg_has_role(current_user, role_name, wanted) THEN
            RETURN true;
        END IF;
        BEGIN
            EXECUTE format('GRANT %I TO %I', role_name, current_user);
            RETURN true;
        EXCEPTION
            WHEN insufficient_privilege THEN
                RAISE WARNING 'role % cannot be granted to %', quote_ident(role_name), quote_ident(current_user)
                    USING DETAIL = 'Usage, backup and purge read as this role and will be refused.',
                          HINT = format('As a superuser: GRANT %I TO %I;', role_name, current_user);
                RETURN false;
            WHEN internal_error OR unique_violation THEN
                attempts := attempts + 1;
                IF attempts = 10 THEN
                    RAISE;
                END IF;
                PERFORM pg_sleep(0.05 * attempts);
        END;
    END LOOP;
END
$function$;

-- registry -------------------------------------------------------------------------------------------

CREATE FUNCTION bf_control.is_tenant_id(candidate text) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT candidate ~ '^[a-z][a-z0-9_]{1,35}$' AND candidate !~ '^(pg_|pool_)'
       AND candidate NOT IN ('shared', 'control', 'queue', 'public', 'information_schema')
$function$;

CREATE TABLE bf_control.tenant (
    tenant_id varchar(36) COLLATE "C" NOT NULL CONSTRAINT tenant_pkey PRIMARY KEY,
    tenant_name varchar(255) NOT NULL,
    schema_name text COLLATE "C" NOT NULL CONSTRAINT tenant_schema_name_key UNIQUE,
    state text NOT NULL,
    schema_version integer,
    subscription_tier varchar(20) NOT NULL DEFAULT 'standard',
    generation bigint NOT NULL DEFAULT 1,
    created_by varchar(36) NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    request jsonb NOT NULL DEFAULT '{}',
    initial_config jsonb NOT NULL DEFAULT '{}',
    last_operation_id uuid,
    error jsonb,
    CONSTRAINT tenant_id_check CHECK (bf_control.is_tenant_id(tenant_id)),
    CONSTRAINT tenant_name_check CHECK (tenant_name ~ '[^[:space:]]'),
    CONSTRAINT tenant_schema_name_check CHECK (octet_length(schema_name) BETWEEN 1 AND 63),
    CONSTRAINT tenant_state_check CHECK (
        state IN ('provisioning', 'active', 'suspended', 'deleted', 'purging', 'failed')
    ),
    CONSTRAINT tenant_version_check CHECK (
        (schema_version IS NULL) = (state IN ('provisioning', 'failed'))
    )
);

COMMENT ON COLUMN bf_control.tenant.request IS 'The creation request as it was made: what a repeated one is compared with';
COMMENT ON COLUMN bf_control.tenant.initial_config IS 'tenant_config columns that setup_tenant() sets in place of their defaults';
COMMENT ON COLUMN bf_control.tenant.generation IS 'Counts the tenants that have had this id';

CREATE INDEX tenant_created_at_idx ON bf_control.tenant (created_at, tenant_id);
CREATE INDEX tenant_name_idx ON bf_control.tenant (tenant_name, tenant_id);
CREATE INDEX tenant_state_idx ON bf_control.tenant (state, tenant_id);
CREATE INDEX tenant_version_idx ON bf_control.tenant (schema_version, tenant_id);

-- The registry row of a tenant that has a schema; it stays locked until the transaction ends.
CREATE FUNCTION bf_control.lock_built_tenant(wanted text) RETURNS bf_control.tenant
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    found bf_control.tenant;
BEGIN
    SELECT t.* INTO found FROM bf_control.tenant t
     WHERE t.tenant_id = wanted AND t.schema_version IS NOT NULL FOR UPDATE;
    IF found.tenant_id IS NULL THEN
        RAISE EXCEPTION 'there is no tenant % with a schema', quote_nullable(wanted) USING ERRCODE = 'no_data_found';
    END IF;
    RETURN found;
END
$function$;

-- One statement of one tenant migration. setup_tenant() and upgrade_tenant() read them, so psql, REST,
-- the command line and Alembic create the same tenant.
CREATE TABLE bf_control.tenant_statement (
    version integer NOT NULL,
    ordinal integer NOT NULL,
    section text NOT NULL CONSTRAINT tenant_statement_section_check
        CHECK (section IN ('table', 'index', 'trigger', 'rls', 'grant')),
    statement text NOT NULL,
    CONSTRAINT tenant_statement_pkey PRIMARY KEY (version, ordinal)
);

-- Placeholders: {{schema}}, {{tenant_id}} (a literal), {{app_role}}, {{audit_role}}, {{index SUFFIX}}.
-- quote_ident and quote_literal alone fill them in.
CREATE FUNCTION bf_control.render_statement(
    statement text, schema_name text, tenant_id text, app_role text, audit_role text
) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT replace(replace(replace(replace(
               regexp_replace(statement, '[{][{]index [a-z0-9_]+[}][}]', coalesce(quote_ident(
                   'idx_' || tenant_id || '_' || substring(statement from '[{][{]index ([a-z0-9_]+)[}][}]')), '')),
               '{{schema}}', quote_ident(schema_name)),
               '{{app_role}}', quote_ident(app_role)),
               '{{audit_role}}', quote_ident(audit_role)),
               '{{tenant_id}}', quote_literal(tenant_id))
$function$;

-- Runs statements of the versions (after_version, upto_version] in the tenant's schema, all sections or
-- one. It leaves search_path set: callers are functions that pin theirs, which restores it on return.
CREATE FUNCTION bf_control.apply_statements(
    schema_name text, tenant_id text, after_version integer, upto_version integer, only_section text DEFAULT NULL
) RETURNS void
LANGUAGE plpgsql
AS $function$
DECLARE
    app_role text := bf_control.setting_of('app_role');
    audit_role text := bf_control.setting_of('audit_role');
    enable_rls boolean := bf_control.setting_of('enable_rls')::boolean;
    step bf_control.tenant_statement;
BEGIN
    EXECUTE format('SET LOCAL search_path = %I, pg_temp', schema_name);
    FOR step IN
        SELECT s.* FROM bf_control.tenant_statement s
         WHERE s.version > after_version AND s.version <= upto_version
           AND (only_section IS NULL OR s.section = only_section)
           AND (enable_rls OR s.section <> 'rls')
         ORDER BY s.version, s.ordinal
    LOOP
        EXECUTE bf_control.render_statement(step.statement, schema_name, tenant_id, app_role, audit_role);
    END LOOP;
END
$function$;

-- Keeps updated_at and version of a tenant's rows.
CREATE FUNCTION bf_control.touch_row() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    NEW.updated_at := now();
    NEW.version := coalesce(OLD.version, 0) + 1;
    RETURN NEW;
END
$function$;

-- configuration: versions and history ----------------------------------------------------------------

CREATE TABLE bf_control.currency (
    code varchar(3) NOT NULL CONSTRAINT currency_pkey PRIMARY KEY
);

COMMENT ON TABLE bf_control.currency IS 'ISO 4217 alphabetic codes in use';

INSERT INTO bf_control.currency (code)
SELECT unnest(string_to_array(
    'AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BOV BRL BSD BTN BWP BYN BZD '
    'CAD CDF CHE CHF CHW CLF CLP CNY COP COU CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP '
    'GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW '
    'KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN '
    'NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD '
    'SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD USN UYI UYU UYW '
    'UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG', ' '));

CREATE TABLE bf_control.tenant_document (
    tenant_id varchar(36) COLLATE "C" NOT NULL,
    document text NOT NULL CONSTRAINT tenant_document_document_check
        CHECK (document IN ('tenant', 'configuration', 'features', 'limits', 'integrations')),
    version bigint NOT NULL DEFAULT 1,
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT tenant_document_pkey PRIMARY KEY (tenant_id, document)
);

CREATE TABLE bf_control.tenant_config_history (
    id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT tenant_config_history_pkey PRIMARY KEY,
    tenant_id varchar(36) COLLATE "C" NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now(),
    database_user text NOT NULL,
    user_context text,
    source text NOT NULL CONSTRAINT tenant_config_history_source_check CHECK (source IN ('api', 'sql')),
    documents text[] NOT NULL,
    before jsonb,
    after jsonb NOT NULL
);

CREATE INDEX tenant_config_history_tenant_idx ON bf_control.tenant_config_history (tenant_id, id);

-- Whether an object anywhere in the document has a key that names a credential, or a URL with a password.
CREATE FUNCTION bf_control.holds_credentials(document jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT jsonb_path_exists(document, 'strict $.** ? (@.type() == "object").keyvalue().key ? (@ like_regex "(password|passwd|passphrase|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credentials?)$" flag "i")')
        OR jsonb_path_exists(document, 'strict $.** ? (@ like_regex "://[^/@]*:[^/@]*@")')
$function$;

CREATE FUNCTION bf_control.is_currency(code text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT EXISTS (SELECT FROM bf_control.currency c WHERE c.code = is_currency.code)
$function$;

-- pg_timezone_names reads the time zone files: ask for changed values only.
CREATE FUNCTION bf_control.is_time_zone(name text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT is_time_zone.name = 'UTC' OR EXISTS (SELECT FROM pg_timezone_names z WHERE z.name = is_time_zone.name)
$function$;

-- BEFORE INSERT OR UPDATE of tenant_config: what a CHECK cannot ask.
CREATE FUNCTION bf_control.tenant_config_check() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    registered text;
BEGIN
    SELECT t.state INTO registered FROM bf_control.tenant t WHERE t.tenant_id = NEW.tenant_id;
    IF registered IS NULL OR (TG_OP = 'UPDATE' AND NEW.tenant_id <> OLD.tenant_id) THEN
        RAISE EXCEPTION 'tenant % is not registered', NEW.tenant_id
            USING ERRCODE = 'foreign_key_violation', HINT = 'Tenants are made by setup_tenant().';
    END IF;
    IF NEW.is_active <> (registered = 'active') THEN
        RAISE EXCEPTION 'is_active of tenant % follows its state, which is %', NEW.tenant_id, registered
            USING ERRCODE = 'check_violation', HINT = 'Suspend or resume the tenant instead.';
    END IF;
    IF NOT bf_control.is_currency(NEW.default_currency) THEN
        RAISE EXCEPTION 'default_currency % is no ISO 4217 code', quote_literal(NEW.default_currency)
            USING ERRCODE = 'check_violation';
    END IF;
    IF (TG_OP = 'INSERT' OR NEW.time_zone <> OLD.time_zone) AND NOT bf_control.is_time_zone(NEW.time_zone) THEN
        RAISE EXCEPTION 'time_zone % is no IANA time zone', quote_literal(NEW.time_zone)
            USING ERRCODE = 'check_violation';
    END IF;
    IF bf_control.holds_credentials(to_jsonb(NEW)) THEN
        RAISE EXCEPTION 'credentials are not kept in tenant_config'
            USING ERRCODE = 'check_violation', HINT = 'Store secrets through the integrations of the API.';
    END IF;
    NEW.updated_at := now();
    RETURN NEW;
END
$function$;

-- AFTER INSERT OR UPDATE of tenant_config: versions, history, and the registry's copy of what it lists.
CREATE FUNCTION bf_control.tenant_config_record() RETURNS trigger
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
           SET tenant_name = NEW.tenant_name, subscription_tier = NEW.subscription_tier, updated_at = now()
         WHERE t.tenant_id = NEW.tenant_id;
    END IF;
    RETURN NULL;
END
$function$;

-- operations -----------------------------------------------------------------------------------------

CREATE TABLE bf_control.operation (
    id uuid NOT NULL DEFAULT gen_random_uuid() CONSTRAINT operation_pkey PRIMARY KEY,
    kind text NOT NULL,
    tenant_id varchar(36) COLLATE "C",
    status text NOT NULL DEFAULT 'queued' CONSTRAINT operation_status_check
        CHECK (status IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    created_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    finished_at timestamptz,
    attempts integer NOT NULL DEFAULT 0,
    claim_token uuid,
    parameters jsonb NOT NULL DEFAULT '{}',
    steps jsonb NOT NULL DEFAULT '[]',
    result jsonb,
    error jsonb,
    actor text NOT NULL,
    request_id text,
    traceparent text,
    CONSTRAINT operation_finished_check CHECK (
        (finished_at IS NOT NULL) = (status IN ('succeeded', 'failed', 'cancelled'))
    )
);

COMMENT ON COLUMN bf_control.operation.claim_token IS 'Fencing: whoever writes an outcome must still hold it';

CREATE INDEX operation_created_at_idx ON bf_control.operation (created_at, id);
CREATE INDEX operation_tenant_idx ON bf_control.operation (tenant_id, created_at, id);
CREATE INDEX operation_unfinished_idx ON bf_control.operation (created_at) WHERE status IN ('queued', 'running');

-- Everyone who waits for an operation listens on this channel.
CREATE FUNCTION bf_control.operation_notify() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    PERFORM pg_notify('bf_operation', NEW.id::text);
    RETURN NULL;
END
$function$;

CREATE TRIGGER operation_finished AFTER UPDATE OF status ON bf_control.operation
    FOR EACH ROW WHEN (NEW.finished_at IS NOT NULL AND OLD.finished_at IS NULL)
    EXECUTE FUNCTION bf_control.operation_notify();

ALTER TABLE bf_control.tenant ADD CONSTRAINT tenant_last_operation_fkey
    FOREIGN KEY (last_operation_id) REFERENCES bf_control.operation (id) ON DELETE SET NULL;

CREATE INDEX tenant_last_operation_idx ON bf_control.tenant (last_operation_id) WHERE last_operation_id IS NOT NULL;

CREATE TABLE bf_control.idempotency_key (
    caller text NOT NULL,
    route text NOT NULL,
    key varchar(255) NOT NULL,
    request_hash bytea NOT NULL,
    status integer NOT NULL,
    headers jsonb NOT NULL,
    body text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT idempotency_key_pkey PRIMARY KEY (caller, route, key)
);

CREATE INDEX idempotency_key_created_at_idx ON bf_control.idempotency_key (created_at);

CREATE TABLE bf_control.audit (
    id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT audit_pkey PRIMARY KEY,
    occurred_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor text NOT NULL,
    database_user text NOT NULL DEFAULT session_user,
    source_address text,
    request_id text,
    action text NOT NULL,
    target text NOT NULL,
    outcome text NOT NULL CONSTRAINT audit_outcome_check CHECK (outcome IN ('accepted', 'succeeded', 'failed', 'denied')),
    before jsonb,
    after jsonb
);

CREATE INDEX audit_target_idx ON bf_control.audit (target, id);

CREATE TABLE bf_control.api_key (
    id text COLLATE "C" NOT NULL CONSTRAINT api_key_pkey PRIMARY KEY,
    name varchar(255) NOT NULL,
    role text NOT NULL CONSTRAINT api_key_role_check
        CHECK (role IN ('viewer', 'operator', 'admin', 'auditor', 'reader', 'metrics')),
    tenant_id varchar(36) COLLATE "C",
    secret_hash bytea NOT NULL CONSTRAINT api_key_secret_hash_check CHECK (octet_length(secret_hash) = 32),
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz
);

COMMENT ON COLUMN bf_control.api_key.secret_hash IS 'HMAC-SHA256 of the secret part; the key itself is shown once and kept nowhere';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA bf_control FROM PUBLIC;
