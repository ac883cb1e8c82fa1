-- The shared schema: roles, five tables, and who may do what with them.
-- section: roles

SELECT bf_control.ensure_role({{audit_role|literal}}, 'audit role', {{create_roles}});

SELECT bf_control.ensure_role({{app_role|literal}}, 'application role', {{create_roles}}, {{audit_role|literal}});

SELECT bf_control.grant_role_to_owner({{audit_role|literal}});

-- section: tables

CREATE SCHEMA {{shared}};

COMMENT ON SCHEMA {{shared}} IS 'APG Budgeting & Forecasting: tenant configuration, reference data, management functions';

CREATE TABLE {{shared}}.tenant_config (
    tenant_id varchar(36) NOT NULL CONSTRAINT tenant_config_pkey PRIMARY KEY,
    tenant_name varchar(255) NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    is_active boolean NOT NULL DEFAULT true,
    features_enabled jsonb NOT NULL DEFAULT '[]',
    budget_features jsonb NOT NULL DEFAULT '{}',
    forecast_features jsonb NOT NULL DEFAULT '{}',
    analytics_features jsonb NOT NULL DEFAULT '{}',
    apg_integrations jsonb NOT NULL DEFAULT '{}',
    external_systems jsonb NOT NULL DEFAULT '{}',
    fiscal_year_start date NOT NULL DEFAULT '2025-01-01',
    default_currency varchar(3) NOT NULL DEFAULT 'USD',
    time_zone varchar(50) NOT NULL DEFAULT 'UTC',
    department_hierarchy jsonb NOT NULL DEFAULT '{}',
    cost_centers jsonb NOT NULL DEFAULT '[]',
    approval_workflows jsonb NOT NULL DEFAULT '{}',
    data_retention_days integer NOT NULL DEFAULT 2555,
    encryption_enabled boolean NOT NULL DEFAULT true,
    audit_level varchar(20) NOT NULL DEFAULT 'detailed',
    max_budget_lines integer NOT NULL DEFAULT 100000,
    forecast_horizon_limit integer NOT NULL DEFAULT 60,
    concurrent_users_limit integer NOT NULL DEFAULT 100,
    subscription_tier varchar(20) NOT NULL DEFAULT 'standard',
    usage_limits jsonb NOT NULL DEFAULT '{}',
    billing_contact varchar(255),
    CONSTRAINT tenant_config_tenant_name_check CHECK (tenant_name ~ '[^[:space:]]'),
    -- An array of strings: nothing in it is of another type. Lax mode would look inside of nested arrays.
    CONSTRAINT tenant_config_features_enabled_check CHECK (
        jsonb_typeof(features_enabled) = 'array'
        AND NOT jsonb_path_exists(features_enabled, 'strict $[*] ? (@.type() != "string")', '{}', true)
    ),
    CONSTRAINT tenant_config_budget_features_check CHECK (jsonb_typeof(budget_features) = 'object'),
    CONSTRAINT tenant_config_forecast_features_check CHECK (jsonb_typeof(forecast_features) = 'object'),
    CONSTRAINT tenant_config_analytics_features_check CHECK (jsonb_typeof(analytics_features) = 'object'),
    CONSTRAINT tenant_config_apg_integrations_check CHECK (jsonb_typeof(apg_integrations) = 'object'),
    CONSTRAINT tenant_config_external_systems_check CHECK (jsonb_typeof(external_systems) = 'object'),
    CONSTRAINT tenant_config_department_hierarchy_check CHECK (jsonb_typeof(department_hierarchy) = 'object'),
    CONSTRAINT tenant_config_cost_centers_check CHECK (jsonb_typeof(cost_centers) = 'array'),
    CONSTRAINT tenant_config_approval_workflows_check CHECK (jsonb_typeof(approval_workflows) = 'object'),
    CONSTRAINT tenant_config_usage_limits_check CHECK (jsonb_typeof(usage_limits) = 'object'),
    CONSTRAINT tenant_config_default_currency_check CHECK (default_currency ~ '^[A-Z]{3}$'),
    CONSTRAINT tenant_config_time_zone_check CHECK (time_zone <> ''),
    CONSTRAINT tenant_config_audit_level_check CHECK (audit_level <> ''),
    CONSTRAINT tenant_config_subscription_tier_check CHECK (subscription_tier <> ''),
    CONSTRAINT tenant_config_data_retention_days_check CHECK (data_retention_days BETWEEN 1 AND 36500),
    CONSTRAINT tenant_config_max_budget_lines_check CHECK (max_budget_lines BETWEEN 0 AND 1000000000),
    CONSTRAINT tenant_config_forecast_horizon_limit_check CHECK (forecast_horizon_limit BETWEEN 1 AND 120),
    CONSTRAINT tenant_config_concurrent_users_limit_check CHECK (concurrent_users_limit BETWEEN 0 AND 1000000)
);

COMMENT ON COLUMN {{shared}}.tenant_config.forecast_horizon_limit IS 'Months';

CREATE TRIGGER tenant_config_check BEFORE INSERT OR UPDATE ON {{shared}}.tenant_config
    FOR EACH ROW EXECUTE FUNCTION bf_control.tenant_config_check();

CREATE TRIGGER tenant_config_record AFTER INSERT OR UPDATE ON {{shared}}.tenant_config
    FOR EACH ROW EXECUTE FUNCTION bf_control.tenant_config_record();

CREATE TABLE {{shared}}.budget_templates (
    template_id varchar(36) NOT NULL CONSTRAINT budget_templates_pkey PRIMARY KEY,
    owner_tenant_id varchar(36) NOT NULL,
    template_name varchar(255) NOT NULL,
    template_description text,
    template_category varchar(100),
    is_public boolean DEFAULT false,
    is_system boolean DEFAULT false,
    usage_count integer DEFAULT 0,
    shared_with_tenants varchar(36)[] DEFAULT '{}',
    template_data jsonb NOT NULL,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    created_by varchar(36) NOT NULL,
    is_deleted boolean DEFAULT false
);

CREATE INDEX budget_templates_owner_idx ON {{shared}}.budget_templates (owner_tenant_id, is_deleted);

CREATE INDEX budget_templates_public_idx ON {{shared}}.budget_templates (is_public, is_deleted);

CREATE TABLE {{shared}}.account_categories (
    category_id varchar(36) NOT NULL CONSTRAINT account_categories_pkey PRIMARY KEY,
    category_code varchar(20) NOT NULL CONSTRAINT account_categories_category_code_key UNIQUE,
    category_name varchar(100) NOT NULL,
    category_type varchar(20) NOT NULL CONSTRAINT account_categories_category_type_check
        CHECK (category_type IN ('revenue', 'expense', 'asset', 'liability')),
    parent_category_id varchar(36),
    gl_account_range varchar(50),
    is_system boolean DEFAULT true,
    sort_order integer DEFAULT 0
);

CREATE INDEX account_categories_type_idx ON {{shared}}.account_categories (category_type, parent_category_id);

CREATE TABLE {{shared}}.currency_rates (
    rate_id varchar(36) NOT NULL CONSTRAINT currency_rates_pkey PRIMARY KEY,
    from_currency varchar(3) NOT NULL,
    to_currency varchar(3) NOT NULL,
    rate_date date NOT NULL,
    exchange_rate numeric(12,6) NOT NULL CONSTRAINT currency_rates_exchange_rate_check CHECK (exchange_rate > 0),
    rate_source varchar(50) DEFAULT 'manual',
    created_at timestamptz DEFAULT now(),
    CONSTRAINT currency_rates_pair_key UNIQUE (from_currency, to_currency, rate_date, rate_source)
);

CREATE TABLE {{shared}}.industry_benchmarks (
    benchmark_id varchar(36) NOT NULL CONSTRAINT industry_benchmarks_pkey PRIMARY KEY,
    industry_code varchar(20) NOT NULL,
    metric_name varchar(100) NOT NULL,
    metric_category varchar(50) NOT NULL,
    percentile_25 numeric(15,4),
    percentile_50 numeric(15,4),
    percentile_75 numeric(15,4),
    percentile_90 numeric(15,4),
    participant_count integer DEFAULT 0,
    anonymized boolean DEFAULT true,
    last_updated timestamptz DEFAULT now()
);

CREATE INDEX industry_benchmarks_industry_idx ON {{shared}}.industry_benchmarks (industry_code, metric_category);

-- section: rls
-- ENABLEd, not FORCEd: the owner, who is the service, administers these tables. Comparing with a
-- context that is unset (NULL) or empty ('' is no tenant id) matches nothing and raises nothing.

ALTER TABLE {{shared}}.tenant_config ENABLE ROW LEVEL SECURITY;

CREATE POLICY tenant_isolation_tenant_config ON {{shared}}.tenant_config FOR SELECT TO {{app_role}}
    USING (tenant_id = current_setting('app.current_tenant', true));

CREATE POLICY audit_access_tenant_config ON {{shared}}.tenant_config FOR SELECT TO {{audit_role}}
    USING (true);

ALTER TABLE {{shared}}.budget_templates ENABLE ROW LEVEL SECURITY;

-- Any session may put any name into its context, 'shared' too: system templates are nobody's to change.
CREATE POLICY tenant_read_budget_templates ON {{shared}}.budget_templates FOR SELECT TO {{app_role}}
    USING (is_public
           OR owner_tenant_id = current_setting('app.current_tenant', true)
           OR current_setting('app.current_tenant', true) = ANY (shared_with_tenants));

CREATE POLICY tenant_insert_budget_templates ON {{shared}}.budget_templates FOR INSERT TO {{app_role}}
    WITH CHECK (owner_tenant_id = current_setting('app.current_tenant', true));

CREATE POLICY tenant_update_budget_templates ON {{shared}}.budget_templates FOR UPDATE TO {{app_role}}
    USING (owner_tenant_id = current_setting('app.current_tenant', true) AND is_system IS NOT TRUE)
    WITH CHECK (owner_tenant_id = current_setting('app.current_tenant', true));

CREATE POLICY tenant_delete_budget_templates ON {{shared}}.budget_templates FOR DELETE TO {{app_role}}
    USING (owner_tenant_id = current_setting('app.current_tenant', true) AND is_system IS NOT TRUE);

CREATE POLICY audit_access_budget_templates ON {{shared}}.budget_templates FOR SELECT TO {{audit_role}}
    USING (true);

-- section: grants

GRANT USAGE ON SCHEMA {{shared}} TO {{app_role}}, {{audit_role}};

GRANT SELECT ON {{shared}}.tenant_config, {{shared}}.budget_templates, {{shared}}.account_categories,
    {{shared}}.currency_rates, {{shared}}.industry_benchmarks TO {{app_role}}, {{audit_role}};

-- is_system and usage_count are the service's: not among the columns a tenant may write.
GRANT INSERT (template_id, owner_tenant_id, template_name, template_description, template_category, is_public,
              shared_with_tenants, template_data, created_at, updated_at, created_by, is_deleted),
      UPDATE (template_id, owner_tenant_id, template_name, template_description, template_category, is_public,
              shared_with_tenants, template_data, created_at, updated_at, created_by, is_deleted),
      DELETE ON {{shared}}.budget_templates TO {{app_role}};
