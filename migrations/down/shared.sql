DROP FUNCTION IF EXISTS
    {{shared}}.setup_tenant(text, text, text), {{shared}}.configure_tenant(text, jsonb),
    {{shared}}.upgrade_tenant(text), {{shared}}.create_tenant_rls_policies(text),
    {{shared}}.create_tenant_indexes(text), {{shared}}.set_tenant_context(text, text),
    {{shared}}.tenant_schema(text), {{shared}}.insert_default_data(),
    {{shared}}.suspend_tenant(text, text), {{shared}}.resume_tenant(text, text),
    {{shared}}.delete_tenant(text, text, interval), {{shared}}.restore_tenant(text, text);

DROP TABLE IF EXISTS {{shared}}.tenant_config, {{shared}}.budget_templates, {{shared}}.account_categories,
    {{shared}}.currency_rates, {{shared}}.industry_benchmarks;

-- Policies ask it.
DROP FUNCTION IF EXISTS {{shared}}.is_own_tenant(text);

DROP SCHEMA IF EXISTS {{shared}};

TRUNCATE bf_control.setting, bf_control.tenant_statement, bf_control.tenant_document;

DELETE FROM bf_control.migration WHERE layer IN ('shared', 'tenant');
