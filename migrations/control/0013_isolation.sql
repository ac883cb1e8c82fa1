-- What was found when isolation was last looked at, and a role for each tenant where BF_TENANT_ROLES asks for them.
-- Only adds: without that setting all is as it was.

CREATE TABLE bf_control.isolation_check (
    only_one boolean NOT NULL DEFAULT true CONSTRAINT isolation_check_pkey PRIMARY KEY
        CONSTRAINT isolation_check_only_one_check CHECK (only_one),
    claimed_at timestamptz,
    checked_at timestamptz,
    duration_ms integer,
    tenants integer NOT NULL DEFAULT 0,
    fault_count integer NOT NULL DEFAULT 0,
    faults jsonb NOT NULL DEFAULT '[]' CONSTRAINT isolation_check_faults_check CHECK (jsonb_typeof(faults) = 'array')
);

COMMENT ON TABLE bf_control.isolation_check IS 'The last look at who may get around row-level security, and where';
COMMENT ON COLUMN bf_control.isolation_check.claimed_at IS 'When a process began to look: the others leave it to that one';
COMMENT ON COLUMN bf_control.isolation_check.faults IS 'The first of them; fault_count counts all';

INSERT INTO bf_control.isolation_check DEFAULT VALUES;

-- A role for each tenant -----------------------------------------------------------------------------
-- Roles are cluster-wide: the number of the database keeps those of two databases apart. Tenant ids end before the
-- last underscore, so that no two tenants have one name, and the longest one has 57 bytes.

CREATE FUNCTION bf_control.tenant_role(tenant_id text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT 'bf_tenant_' || $1 || '_' || d.oid FROM pg_database d WHERE d.datname = current_database()
$function$;

-- What all tenants' roles are members of: reference data and the context function, and no tenant's schema.
CREATE FUNCTION bf_control.tenants_role() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT 'bf_tenants_' || d.oid FROM pg_database d WHERE d.datname = current_database()
$function$;

CREATE FUNCTION bf_control.has_tenant_roles() RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT coalesce((SELECT s.value::boolean FROM bf_control.setting s WHERE s.name = 'tenant_roles'), false)
$function$;

-- One of ours, or one that is made now: a role of that name that somebody else made is not given a tenant.
CREATE FUNCTION bf_control.make_role(role_name text, purpose text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    mark CONSTANT text := 'APG Budgeting & Forecasting: ';
    found pg_roles;
BEGIN
    IF to_regrole(quote_ident(role_name)) IS NULL THEN
        EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
        EXECUTE format('COMMENT ON ROLE %I IS %L', role_name, mark || purpose);
        RETURN;
    END IF;
    SELECT r.* INTO STRICT found FROM pg_roles r WHERE r.rolname = role_name;
    IF found.rolsuper OR found.rolbypassrls OR found.rolcanlogin
       OR coalesce(shobj_description(found.oid, 'pg_authid'), '') NOT LIKE mark || '%' THEN
        RAISE EXCEPTION 'role % exists, and is not one that was made here', quote_ident(role_name)
            USING ERRCODE = 'duplicate_object', HINT = format('DROP ROLE %I; or rename it', role_name);
    END IF;
END
$function$;

CREATE FUNCTION bf_control.ensure_tenant_role(tenant_id text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    role_name text := bf_control.tenant_role(tenant_id);
BEGIN
    IF NOT bf_control.has_tenant_roles() THEN
        RETURN;
    END IF;
    PERFORM bf_control.make_role(role_name, format('tenant %s of database %s', tenant_id, current_database()));
    IF NOT pg_has_role(role_name, bf_control.tenants_role(), 'MEMBER') THEN
        EXECUTE format('GRANT %I TO %I', bf_control.tenants_role(), role_name);
    END IF;
END
$function$;

-- As before, and where there are roles of tenants, what the application role gets the tenant's own gets too: every
-- grant and every policy, of every tenant migration there will be.
CREATE OR REPLACE FUNCTION bf_control.render_statement(
    statement text, schema_name text, tenant_id text, app_role text, audit_role text
) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT replace(replace(replace(replace(
               regexp_replace(statement, '[{][{]index [a-z0-9_]+[}][}]', coalesce(quote_ident(
                   'idx_' || tenant_id || '_' || substring(statement from '[{][{]index ([a-z0-9_]+)[}][}]')), '')),
               '{{schema}}', quote_ident(schema_name)),
               '{{app_role}}', CASE WHEN statement LIKE '%{{app_role}}%' AND bf_control.has_tenant_roles()
                                    THEN quote_ident(app_role) || ', ' || quote_ident(bf_control.tenant_role(tenant_id))
                                    ELSE quote_ident(app_role) END),
               '{{audit_role}}', quote_ident(audit_role)),
               '{{tenant_id}}', quote_literal(tenant_id))
$function$;

CREATE OR REPLACE FUNCTION bf_control.apply_statements(
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
    PERFORM bf_control.ensure_tenant_role(tenant_id);
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

-- Everything that a role of ours was given in this database goes with it: grants, and its place in policies. What it
-- owns, which is none of our doing, does not.
CREATE FUNCTION bf_control.drop_role(role_name text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    IF to_regrole(quote_ident(role_name)) IS NULL THEN
        RETURN;
    END IF;
    IF EXISTS (SELECT FROM pg_shdepend d
                WHERE d.refclassid = 'pg_authid'::regclass AND d.deptype = 'o'
                  AND d.refobjid = to_regrole(quote_ident(role_name))) THEN
        RAISE EXCEPTION 'role % owns something, and is not dropped', quote_ident(role_name)
            USING ERRCODE = 'dependent_objects_still_exist',
                  HINT = format('REASSIGN OWNED BY %I TO another role, in each database where it owns something.', role_name);
    END IF;
    -- To take away what a role has one must be it.
    EXECUTE format('GRANT %I TO %I', role_name, current_user);
    EXECUTE format('DROP OWNED BY %I', role_name);
    EXECUTE format('DROP ROLE %I', role_name);
END
$function$;

-- Brings one tenant that is there already to what the setting says: it has its role, with the way in that its state
-- leaves it, or has none. Run again, it changes nothing.
CREATE FUNCTION bf_control.keep_tenant_role(tenant_id text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET client_min_messages = warning
AS $function$
#variable_conflict error
DECLARE
    registered bf_control.tenant := bf_control.lock_built_tenant(keep_tenant_role.tenant_id);
    app_role text := bf_control.setting_of('app_role');
    role_name text := bf_control.tenant_role(keep_tenant_role.tenant_id);
    policy text[];
BEGIN
    IF NOT bf_control.has_tenant_roles() THEN
        PERFORM bf_control.drop_role(role_name);
        RETURN;
    END IF;
    PERFORM bf_control.apply_statements(
        registered.schema_name, registered.tenant_id::text, 0, registered.schema_version, 'grant');
    IF registered.state <> 'active' THEN -- the statements open the schema
        EXECUTE format('REVOKE USAGE ON SCHEMA %I FROM %I, %I', registered.schema_name, app_role, role_name);
    END IF;
    IF bf_control.setting_of('enable_rls')::boolean THEN
        FOR policy IN
            SELECT regexp_match(s.statement, '^CREATE POLICY ([a-z0-9_]+) ON ([a-z0-9_]+)')
              FROM bf_control.tenant_statement s
             WHERE s.section = 'rls' AND s.version <= registered.schema_version
               AND s.statement ~ '^CREATE POLICY [^(]* TO [{][{]app_role[}][}]'
        LOOP
            EXECUTE format('ALTER POLICY %I ON %I.%I TO %I, %I', policy[1], registered.schema_name, policy[2],
                           app_role, role_name);
        END LOOP;
    END IF;
END
$function$;

-- A tenant that is not active keeps its role, and loses the way in, as the application role does; one that is gone
-- leaves none. What somebody else gave the role is in the way of that: it stays then, and is found as an orphan.
CREATE FUNCTION bf_control.tenant_role_follow() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    role_name text := bf_control.tenant_role(OLD.tenant_id);
BEGIN
    IF to_regrole(quote_ident(role_name)) IS NULL THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'DELETE' THEN
        BEGIN
            EXECUTE format('DROP ROLE %I', role_name);
        EXCEPTION WHEN dependent_objects_still_exist OR insufficient_privilege THEN
            RAISE WARNING 'role % stays: %', quote_ident(role_name), SQLERRM;
        END;
    ELSIF to_regnamespace(quote_ident(NEW.schema_name)) IS NULL THEN
        RETURN NULL;
    ELSIF NEW.state = 'active' THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', NEW.schema_name, role_name);
    ELSE
        EXECUTE format('REVOKE USAGE ON SCHEMA %I FROM %I', NEW.schema_name, role_name);
    END IF;
    RETURN NULL;
END
$function$;

CREATE TRIGGER tenant_role_state AFTER UPDATE OF state ON bf_control.tenant
    FOR EACH ROW WHEN (OLD.state <> NEW.state) EXECUTE FUNCTION bf_control.tenant_role_follow();

CREATE TRIGGER tenant_role_gone AFTER DELETE ON bf_control.tenant
    FOR EACH ROW EXECUTE FUNCTION bf_control.tenant_role_follow();

-- Says from now on whether tenants have roles; keep_tenant_role() brings along those that are there. What tenants
-- share they read as members of one role, by their role and not by their context alone.
CREATE FUNCTION bf_control.use_tenant_roles(wanted boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET client_min_messages = warning
AS $function$
DECLARE
    shared text := quote_ident(bf_control.setting_of('shared_schema'));
    group_role text := bf_control.tenants_role();
    granted CONSTANT text := 'template_id, owner_tenant_id, template_name, template_description, template_category, '
        'is_public, shared_with_tenants, template_data, created_at, updated_at, created_by, is_deleted';
    own text := format('%s.is_own_tenant(current_setting(''app.current_tenant'', true))', shared);
BEGIN
    INSERT INTO bf_control.setting AS s (name, value) VALUES ('tenant_roles', wanted::text)
        ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE s.value <> excluded.value;
    IF NOT wanted THEN
        PERFORM bf_control.drop_role(group_role);
        RETURN;
    END IF;
    PERFORM bf_control.make_role(group_role, format('all tenants of database %s', current_database()));
    EXECUTE format('GRANT USAGE ON SCHEMA %s TO %I', shared, group_role);
    EXECUTE format('GRANT SELECT ON %1$s.tenant_config, %1$s.budget_templates, %1$s.account_categories,
                    %1$s.currency_rates, %1$s.industry_benchmarks TO %2$I', shared, group_role);
    EXECUTE format('GRANT INSERT (%1$s), UPDATE (%1$s), DELETE ON %2$s.budget_templates TO %3$I', granted, shared, group_role);
    EXECUTE format('GRANT EXECUTE ON FUNCTION %1$s.set_tenant_context(text, text), %1$s.tenant_schema(text),
                    %1$s.is_own_tenant(text) TO %2$I', shared, group_role);
    IF NOT bf_control.setting_of('enable_rls')::boolean THEN
        RETURN;
    END IF;
    EXECUTE format('DROP POLICY IF EXISTS tenant_role_tenant_config ON %s.tenant_config', shared);
    EXECUTE format('CREATE POLICY tenant_role_tenant_config ON %1$s.tenant_config FOR SELECT TO %2$I
                    USING (tenant_id = current_setting(''app.current_tenant'', true) AND %3$s)', shared, group_role, own);
    EXECUTE format('DROP POLICY IF EXISTS tenant_role_read_budget_templates ON %s.budget_templates', shared);
    EXECUTE format('CREATE POLICY tenant_role_read_budget_templates ON %1$s.budget_templates FOR SELECT TO %2$I
                    USING (is_public OR ((owner_tenant_id = current_setting(''app.current_tenant'', true)
                           OR current_setting(''app.current_tenant'', true) = ANY (shared_with_tenants)) AND %3$s))',
                   shared, group_role, own);
    EXECUTE format('DROP POLICY IF EXISTS tenant_role_write_budget_templates ON %s.budget_templates', shared);
    EXECUTE format('CREATE POLICY tenant_role_write_budget_templates ON %1$s.budget_templates FOR ALL TO %2$I
                    USING (owner_tenant_id = current_setting(''app.current_tenant'', true) AND is_system IS NOT TRUE AND %3$s)
                    WITH CHECK (owner_tenant_id = current_setting(''app.current_tenant'', true) AND %3$s)',
                   shared, group_role, own);
END
$function$;

REVOKE ALL ON FUNCTION bf_control.tenant_role(text), bf_control.tenants_role(), bf_control.has_tenant_roles(),
    bf_control.make_role(text, text), bf_control.ensure_tenant_role(text), bf_control.drop_role(text),
    bf_control.keep_tenant_role(text), bf_control.tenant_role_follow(), bf_control.use_tenant_roles(boolean) FROM PUBLIC;
