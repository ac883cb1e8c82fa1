-- The management functions. SECURITY DEFINER with a pinned search_path: whoever calls them, a tenant
-- has the one owner. Nobody may execute them unless granted.
-- section: functions

CREATE FUNCTION {{shared}}.setup_tenant(tenant_id text, tenant_name text, created_by text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict error
DECLARE
    registered bf_control.tenant;
    latest integer;
BEGIN
    IF bf_control.is_tenant_id(setup_tenant.tenant_id) IS NOT TRUE THEN
        RAISE EXCEPTION 'tenant id % is not allowed', quote_nullable(setup_tenant.tenant_id)
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Two to 36 of a-z, 0-9 and _, a letter first; no reserved name, nothing that starts pg_ or pool_.';
    END IF;
    IF coalesce(setup_tenant.tenant_name, '') !~ '[^[:space:]]' OR length(setup_tenant.tenant_name) > 255 THEN
        RAISE EXCEPTION 'tenant name must have 1 to 255 characters' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF coalesce(setup_tenant.created_by, '') !~ '[^[:space:]]' OR length(setup_tenant.created_by) > 36 THEN
        RAISE EXCEPTION 'created_by must have 1 to 36 characters' USING ERRCODE = 'invalid_parameter_value';
    END IF;

    INSERT INTO bf_control.tenant AS t (tenant_id, tenant_name, schema_name, state, created_by)
    VALUES (setup_tenant.tenant_id, setup_tenant.tenant_name, 'bf_' || setup_tenant.tenant_id, 'provisioning',
            setup_tenant.created_by)
        ON CONFLICT ON CONSTRAINT tenant_pkey DO NOTHING;
    SELECT t.* INTO STRICT registered FROM bf_control.tenant t
     WHERE t.tenant_id = setup_tenant.tenant_id FOR UPDATE;
    IF registered.state NOT IN ('provisioning', 'failed') THEN
        RAISE EXCEPTION 'tenant % exists already and is %', registered.tenant_id, registered.state
            USING ERRCODE = 'unique_violation';
    END IF;

    IF to_regnamespace(quote_ident(registered.schema_name)) IS NOT NULL THEN
        RAISE EXCEPTION 'schema % exists, but belongs to no tenant', quote_ident(registered.schema_name)
            USING ERRCODE = 'duplicate_schema',
                  HINT = 'Whoever uses it may still need it: choose another tenant id, or rename that schema.';
    END IF;
    SELECT max(s.version) INTO latest FROM bf_control.tenant_statement s;
    EXECUTE format('CREATE SCHEMA %I', registered.schema_name);
    PERFORM bf_control.apply_statements(registered.schema_name, registered.tenant_id::text, 0, latest);

    UPDATE bf_control.tenant t
       SET state = 'active', schema_version = latest, tenant_name = setup_tenant.tenant_name, error = NULL,
           updated_at = now()
     WHERE t.tenant_id = registered.tenant_id;
    INSERT INTO {{shared}}.tenant_config (tenant_id, tenant_name, subscription_tier, is_active)
    VALUES (registered.tenant_id, setup_tenant.tenant_name, registered.subscription_tier, true);
    IF registered.initial_config <> '{}' THEN
        PERFORM {{shared}}.configure_tenant(registered.tenant_id::text, registered.initial_config);
    END IF;
    RETURN true;
END
$function$;

-- Sets columns of tenant_config from an object of their values; names outside the list are refused.
CREATE FUNCTION {{shared}}.configure_tenant(tenant_id text, settings jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict error
DECLARE
    settable CONSTANT text[] := ARRAY[
        'features_enabled', 'budget_features', 'forecast_features', 'analytics_features', 'apg_integrations',
        'external_systems', 'fiscal_year_start', 'default_currency', 'time_zone', 'department_hierarchy',
        'cost_centers', 'approval_workflows', 'data_retention_days', 'encryption_enabled', 'audit_level',
        'max_budget_lines', 'forecast_horizon_limit', 'concurrent_users_limit', 'subscription_tier',
        'usage_limits', 'billing_contact'];
    unknown text;
BEGIN
    SELECT k.name INTO unknown FROM jsonb_object_keys(configure_tenant.settings) AS k(name)
     WHERE k.name <> ALL (settable) LIMIT 1;
    IF unknown IS NOT NULL THEN
        RAISE EXCEPTION 'tenant_config has no column % to set', quote_literal(unknown)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    UPDATE {{shared}}.tenant_config c
       SET features_enabled = v.features_enabled, budget_features = v.budget_features,
           forecast_features = v.forecast_features, analytics_features = v.analytics_features,
           apg_integrations = v.apg_integrations, external_systems = v.external_systems,
           fiscal_year_start = v.fiscal_year_start, default_currency = v.default_currency,
           time_zone = v.time_zone, department_hierarchy = v.department_hierarchy,
           cost_centers = v.cost_centers, approval_workflows = v.approval_workflows,
           data_retention_days = v.data_retention_days, encryption_enabled = v.encryption_enabled,
           audit_level = v.audit_level, max_budget_lines = v.max_budget_lines,
           forecast_horizon_limit = v.forecast_horizon_limit,
           concurrent_users_limit = v.concurrent_users_limit, subscription_tier = v.subscription_tier,
           usage_limits = v.usage_limits, billing_contact = v.billing_contact
      FROM {{shared}}.tenant_config o
     CROSS JOIN LATERAL jsonb_populate_record(o, configure_tenant.settings) AS v
     WHERE o.tenant_id = configure_tenant.tenant_id AND c.tenant_id = o.tenant_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'tenant % has no configuration', configure_tenant.tenant_id USING ERRCODE = 'no_data_found';
    END IF;
END
$function$;

-- Brings one existing tenant to the latest version; returns the version it had.
CREATE FUNCTION {{shared}}.upgrade_tenant(tenant_id text) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict error
DECLARE
    registered bf_control.tenant := bf_control.lock_built_tenant(upgrade_tenant.tenant_id);
    latest integer;
BEGIN
    SELECT max(s.version) INTO latest FROM bf_control.tenant_statement s;
    IF registered.schema_version < latest THEN
        PERFORM bf_control.apply_statements(
            registered.schema_name, registered.tenant_id::text, registered.schema_version, latest);
        UPDATE bf_control.tenant t SET schema_version = latest, updated_at = now()
         WHERE t.tenant_id = registered.tenant_id;
    END IF;
    RETURN registered.schema_version;
END
$function$;

CREATE FUNCTION {{shared}}.create_tenant_rls_policies(tenant_id text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET client_min_messages = warning
AS $function$
#variable_conflict error
DECLARE
    registered bf_control.tenant := bf_control.lock_built_tenant(create_tenant_rls_policies.tenant_id);
    policy text[];
BEGIN
    IF NOT bf_control.setting_of('enable_rls')::boolean THEN
        RAISE EXCEPTION 'row-level security is off in this database (BF_ENABLE_RLS=false)'
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    FOR policy IN
        SELECT regexp_match(s.statement, '^CREATE POLICY ([a-z0-9_]+) ON ([a-z0-9_]+)') FROM bf_control.tenant_statement s
         WHERE s.section = 'rls' AND s.version <= registered.schema_version AND s.statement LIKE 'CREATE POLICY %'
    LOOP
        EXECUTE format('DROP POLICY IF EXISTS %I ON %I.%I', policy[1], registered.schema_name, policy[2]);
    END LOOP;
    PERFORM bf_control.apply_statements(
        registered.schema_name, registered.tenant_id::text, 0, registered.schema_version, 'rls');
END
$function$;

CREATE FUNCTION {{shared}}.create_tenant_indexes(tenant_id text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET client_min_messages = warning
AS $function$
#variable_conflict error
DECLARE
    registered bf_control.tenant := bf_control.lock_built_tenant(create_tenant_indexes.tenant_id);
    leftover text;
BEGIN
    -- A concurrent build that was cut short leaves an invalid one, which IF NOT EXISTS would pass over.
    FOR leftover IN
        SELECT c.relname
          FROM pg_depend d
          JOIN pg_index x ON x.indrelid = d.objid AND NOT x.indisvalid
          JOIN pg_class c ON c.oid = x.indexrelid
         WHERE d.refclassid = 'pg_namespace'::regclass AND d.classid = 'pg_class'::regclass
           AND d.refobjid = to_regnamespace(quote_ident(registered.schema_name))
    LOOP
        EXECUTE format('DROP INDEX %I.%I', registered.schema_name, leftover);
    END LOOP;
    PERFORM bf_control.apply_statements(
        registered.schema_name, registered.tenant_id::text, 0, registered.schema_version, 'index');
END
$function$;

-- The pinned lookup under set_tenant_context(): the quoted schema of an active tenant, or 42501.
CREATE FUNCTION {{shared}}.tenant_schema(tenant_id text) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict error
DECLARE
    found text;
BEGIN
    SELECT quote_ident(t.schema_name) INTO found FROM bf_control.tenant t
     WHERE t.tenant_id = tenant_schema.tenant_id AND t.state = 'active';
    IF found IS NULL THEN
        -- One answer for unknown, suspended and deleted ones: it tells nobody which tenants there are.
        RAISE EXCEPTION 'tenant % is not active', quote_nullable(tenant_schema.tenant_id)
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN found;
END
$function$;

-- What an application calls first in a transaction. A function that pins its search_path restores it on
-- return, so this one is not pinned, runs as its caller, and qualifies every name.
CREATE FUNCTION {{shared}}.set_tenant_context(tenant_id text, user_id text) RETURNS void
LANGUAGE plpgsql
AS $function$
#variable_conflict error
DECLARE
    schema_name pg_catalog.text := {{shared}}.tenant_schema(tenant_id);
BEGIN
    EXECUTE pg_catalog.format('SET LOCAL app.current_tenant = %L', tenant_id);
    EXECUTE pg_catalog.format('SET LOCAL app.current_user_id = %L', pg_catalog.concat(user_id));
    EXECUTE pg_catalog.format('SET LOCAL search_path = %s, %s, pg_temp', schema_name, {{shared_ident|literal}});
END
$function$;

CREATE FUNCTION {{shared}}.insert_default_data() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    INSERT INTO {{shared}}.account_categories
        (category_id, category_code, category_name, category_type, parent_category_id, sort_order)
    VALUES ('cat_rev', 'REV', 'Revenue', 'revenue', NULL, 1),
           ('cat_rev_sales', 'REV_SALES', 'Sales Revenue', 'revenue', 'cat_rev', 2),
           ('cat_rev_service', 'REV_SERVICE', 'Service Revenue', 'revenue', 'cat_rev', 3),
           ('cat_exp', 'EXP', 'Expenses', 'expense', NULL, 10),
           ('cat_exp_salary', 'EXP_SALARY', 'Salary Expenses', 'expense', 'cat_exp', 11),
           ('cat_exp_travel', 'EXP_TRAVEL', 'Travel Expenses', 'expense', 'cat_exp', 12),
           ('cat_exp_marketing', 'EXP_MARKETING', 'Marketing Expenses', 'expense', 'cat_exp', 13),
           ('cat_asset', 'ASSET', 'Assets', 'asset', NULL, 20),
           ('cat_liability', 'LIABILITY', 'Liabilities', 'liability', NULL, 30)
        ON CONFLICT DO NOTHING;
    INSERT INTO {{shared}}.budget_templates
        (template_id, owner_tenant_id, template_name, template_description, template_category, is_public,
         is_system, template_data, created_by)
    VALUES ('template_system_001', 'shared', 'Standard Annual Budget Template',
            'Twelve monthly periods, revenue and expense', 'Annual', true, true,
            '{"categories": ["revenue", "expense"], "hierarchical": true, "periods": 12}', 'shared')
        ON CONFLICT DO NOTHING;
    -- The date is fixed: with today's, a second run would make five more.
    INSERT INTO {{shared}}.currency_rates (rate_id, from_currency, to_currency, rate_date, exchange_rate, rate_source)
    VALUES ('rate_usd_eur', 'USD', 'EUR', '2025-01-01', 0.85, 'system'),
           ('rate_usd_gbp', 'USD', 'GBP', '2025-01-01', 0.75, 'system'),
           ('rate_usd_jpy', 'USD', 'JPY', '2025-01-01', 110, 'system'),
           ('rate_eur_usd', 'EUR', 'USD', '2025-01-01', 1.18, 'system'),
           ('rate_gbp_usd', 'GBP', 'USD', '2025-01-01', 1.33, 'system')
        ON CONFLICT DO NOTHING;
END
$function$;

-- section: grants

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA {{shared}} FROM PUBLIC;

GRANT EXECUTE ON FUNCTION {{shared}}.set_tenant_context(text, text), {{shared}}.tenant_schema(text) TO {{app_role}};

-- section: data

SELECT {{shared}}.insert_default_data();
