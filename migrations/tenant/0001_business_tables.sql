-- One tenant: six tables in its own schema, under its search_path. A statement is one row of
-- bf_control.tenant_statement and is executed alone. Placeholders: {{schema}}, {{tenant_id}} (a literal),
-- {{app_role}}, {{audit_role}}, {{index SUFFIX}}; a suffix has at most 23 characters, so that with a
-- 36-character tenant id the index's name has 63 bytes.
-- section: table

CREATE TABLE budgets (
    id varchar(36) NOT NULL CONSTRAINT budgets_pkey PRIMARY KEY,
    tenant_id varchar(36) NOT NULL DEFAULT nullif(current_setting('app.current_tenant', true), ''),
    budget_name varchar(255) NOT NULL,
    budget_code varchar(50),
    budget_type varchar(20) NOT NULL,
    fiscal_year integer NOT NULL,
    budget_period_start date NOT NULL,
    budget_period_end date NOT NULL,
    status varchar(20) DEFAULT 'draft',
    workflow_state varchar(100),
    approval_level integer DEFAULT 0,
    requires_approval boolean DEFAULT true,
    base_currency varchar(3) DEFAULT 'USD',
    budget_method varchar(50) DEFAULT 'zero_based',
    planning_horizon_months integer DEFAULT 12,
    template_id varchar(36),
    parent_budget_id varchar(36),
    is_template boolean DEFAULT false,
    template_usage_count integer DEFAULT 0,
    department_code varchar(50),
    cost_center_code varchar(50),
    business_unit varchar(100),
    region_code varchar(50),
    total_budget_amount numeric(15,2) DEFAULT 0.00,
    total_committed_amount numeric(15,2) DEFAULT 0.00,
    total_actual_amount numeric(15,2) DEFAULT 0.00,
    variance_amount numeric(15,2) DEFAULT 0.00,
    variance_percent numeric(10,4) DEFAULT 0.0000,
    ai_confidence_score numeric(5,3) DEFAULT 0.000,
    risk_assessment_score numeric(5,3) DEFAULT 0.000,
    ai_recommendations jsonb DEFAULT '[]',
    forecast_accuracy_score numeric(5,3),
    collaboration_enabled boolean DEFAULT true,
    notification_settings jsonb DEFAULT '{}',
    last_activity_date date,
    active_contributors jsonb DEFAULT '[]',
    document_folder_id varchar(36),
    workflow_instance_id varchar(36),
    ai_job_id varchar(36),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    created_by varchar(36) NOT NULL DEFAULT coalesce(nullif(current_setting('app.current_user_id', true), ''),
            nullif(current_setting('app.current_user', true), ''), left(session_user, 36)),
    updated_by varchar(36) NOT NULL DEFAULT coalesce(nullif(current_setting('app.current_user_id', true), ''),
            nullif(current_setting('app.current_user', true), ''), left(session_user, 36)),
    version integer DEFAULT 1,
    is_deleted boolean DEFAULT false,
    deleted_at timestamptz,
    deleted_by varchar(36),
    CONSTRAINT budgets_tenant_check CHECK (tenant_id = {{tenant_id}}),
    CONSTRAINT budgets_period_check CHECK (budget_period_end > budget_period_start),
    CONSTRAINT budgets_fiscal_year_check CHECK (fiscal_year BETWEEN 2015 AND 2035),
    CONSTRAINT budgets_planning_horizon_check CHECK (planning_horizon_months BETWEEN 1 AND 60)
);

CREATE TABLE forecasts (
    id varchar(36) NOT NULL CONSTRAINT forecasts_pkey PRIMARY KEY,
    tenant_id varchar(36) NOT NULL DEFAULT nullif(current_setting('app.current_tenant', true), ''),
    forecast_name varchar(255) NOT NULL,
    forecast_code varchar(50),
    forecast_type varchar(20) NOT NULL,
    forecast_method varchar(20) NOT NULL,
    forecast_horizon_months integer NOT NULL,
    forecast_frequency varchar(20) DEFAULT 'monthly',
    base_period_start date NOT NULL,
    base_period_end date NOT NULL,
    forecast_period_start date NOT NULL,
    forecast_period_end date NOT NULL,
    algorithm_type varchar(50),
    model_version varchar(50),
    model_parameters jsonb DEFAULT '{}',
    feature_selection jsonb DEFAULT '{}',
    data_sources jsonb DEFAULT '[]',
    input_variables jsonb DEFAULT '[]',
    external_factors jsonb DEFAULT '[]',
    historical_months_used integer DEFAULT 24,
    accuracy_score numeric(5,3),
    confidence_level numeric(5,3) DEFAULT 0.950,
    confidence_interval_lower numeric(15,2),
    confidence_interval_upper numeric(15,2),
    mae_score numeric(15,4),
    mape_score numeric(15,4),
    rmse_score numeric(15,4),
    scenario_type varchar(20) DEFAULT 'base',
    probability_weight numeric(5,3) DEFAULT 1.000,
    scenario_assumptions text,
    sensitivity_analysis jsonb DEFAULT '{}',
    department_code varchar(50),
    business_unit varchar(100),
    product_category varchar(100),
    market_segment varchar(100),
    geographic_region varchar(100),
    status varchar(20) DEFAULT 'draft',
    generation_status varchar(50),
    last_generation_date timestamptz,
    next_generation_date timestamptz,
    auto_generation_enabled boolean DEFAULT false,
    forecast_value numeric(15,2),
    actual_value numeric(15,2),
    variance_amount numeric(15,2),
    variance_percent numeric(10,4),
    accuracy_trend varchar(20),
    ai_job_id varchar(36),
    time_series_job_id varchar(36),
    federated_learning_session_id varchar(36),
    reviewed_by varchar(36),
    review_date date,
    review_notes text,
    approved_for_planning boolean DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    created_by varchar(36) NOT NULL DEFAULT coalesce(nullif(current_setting('app.current_user_id', true), ''),
            nullif(current_setting('app.current_user', true), ''), left(session_user, 36)),
    updated_by varchar(36) NOT NULL DEFAULT coalesce(nullif(current_setting('app.current_user_id', true), ''),
            nullif(current_setting('app.current_user', true), ''), left(session_user, 36)),
    version integer DEFAULT 1,
    is_deleted boolean DEFAULT false,
    deleted_at timestamptz,
    deleted_by varchar(36),
    CONSTRAINT forecasts_tenant_check CHECK (tenant_id = {{tenant_id}}),
    CONSTRAINT forecasts_horizon_check CHECK (forecast_horizon_months BETWEEN 1 AND 60),
    CONSTRAINT forecasts_period_check CHECK (forecast_period_start > base_period_end),
    CONSTRAINT forecasts_historical_months_check CHECK (historical_months_used BETWEEN 3 AND 120)
);

CREATE TABLE budget_lines (
    id varchar(36) NOT NULL CONSTRAINT budget_lines_pkey PRIMARY KEY,
    tenant_id varchar(36) NOT NULL DEFAULT nullif(current_setting('app.current_tenant', true), ''),
    budget_id varchar(36) NOT NULL,
    line_number integer NOT NULL,
    line_description varchar(500) NOT NULL,
    line_category varchar(100) NOT NULL,
    line_type varchar(20) NOT NULL,
    account_code varchar(50) NOT NULL,
    account_category_id varchar(36),
    gl_account varchar(50),
    department_code varchar(50),
    cost_center_code varchar(50),
    project_code varchar(50),
    activity_code varchar(50),
    location_code varchar(50),
    period_start date NOT NULL,
    period_end date NOT NULL,
    allocation_method varchar(50) DEFAULT 'equal',
    budgeted_amount numeric(15,2) NOT NULL,
    forecasted_amount numeric(15,2),
    committed_amount numeric(15,2) DEFAULT 0.00,
    actual_amount numeric(15,2) DEFAULT 0.00,
    variance_amount numeric(15,2) DEFAULT 0.00,
    variance_percent numeric(10,4) DEFAULT 0.0000,
    month_01_amount numeric(15,2) DEFAULT 0.00,
    month_02_amount numeric(15,2) DEFAULT 0.00,
    month_03_amount numeric(15,2) DEFAULT 0.00,
    month_04_amount numeric(15,2) DEFAULT 0.00,
    month_05_amount numeric(15,2) DEFAULT 0.00,
    month_06_amount numeric(15,2) DEFAULT 0.00,
    month_07_amount numeric(15,2) DEFAULT 0.00,
    month_08_amount numeric(15,2) DEFAULT 0.00,
    month_09_amount numeric(15,2) DEFAULT 0.00,
    month_10_amount numeric(15,2) DEFAULT 0.00,
    month_11_amount numeric(15,2) DEFAULT 0.00,
    month_12_amount numeric(15,2) DEFAULT 0.00,
    q1_amount numeric(15,2) DEFAULT 0.00,
    q2_amount numeric(15,2) DEFAULT 0.00,
    q3_amount numeric(15,2) DEFAULT 0.00,
    q4_amount numeric(15,2) DEFAULT 0.00,
    currency_code varchar(3) DEFAULT 'USD',
    exchange_rate numeric(12,6) DEFAULT 1.000000,
    base_currency_amount numeric(15,2),
    quantity_driver varchar(100),
    unit_quantity numeric(15,4),
    unit_price numeric(15,4),
    price_escalation_percent numeric(8,4) DEFAULT 0.0000,
    approval_status varchar(20) DEFAULT 'pending',
    approval_level integer DEFAULT 0,
    approved_by varchar(36),
    approved_date date,
    rejection_reason text,
    ai_confidence_score numeric(5,3) DEFAULT 0.000,
    seasonality_factor numeric(8,4) DEFAULT 1.0000,
    trend_factor numeric(8,4) DEFAULT 1.0000,
    ai_adjustments jsonb DEFAULT '{}',
    line_notes text,
    business_justification text,
    assumptions text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    created_by varchar(36) NOT NULL DEFAULT coalesce(nullif(current_setting('app.current_user_id', true), ''),
            nullif(current_setting('app.current_user', true), ''), left(session_user, 36)),
    updated_by varchar(36) NOT NULL DEFAULT coalesce(nullif(current_setting('app.current_user_id', true), ''),
            nullif(current_setting('app.current_user', true), ''), left(session_user, 36)),
    version integer DEFAULT 1,
    is_deleted boolean DEFAULT false,
    deleted_at timestamptz,
    deleted_by varchar(36),
    CONSTRAINT budget_lines_tenant_check CHECK (tenant_id = {{tenant_id}}),
    CONSTRAINT budget_lines_period_check CHECK (period_end > period_start),
    CONSTRAINT budget_lines_exchange_rate_check CHECK (exchange_rate > 0),
    CONSTRAINT budget_lines_budget_id_fkey FOREIGN KEY (budget_id) REFERENCES budgets (id)
);

CREATE TABLE forecast_data_points (
    id varchar(36) NOT NULL CONSTRAINT forecast_data_points_pkey PRIMARY KEY,
    tenant_id varchar(36) NOT NULL DEFAULT nullif(current_setting('app.current_tenant', true), ''),
    forecast_id varchar(36) NOT NULL,
    period_date date NOT NULL,
    period_type varchar(20) NOT NULL,
    period_sequence integer NOT NULL,
    fiscal_year integer,
    fiscal_quarter integer,
    fiscal_month integer,
    forecasted_value numeric(15,2) NOT NULL,
    confidence_lower numeric(15,2),
    confidence_upper numeric(15,2),
    actual_value numeric(15,2),
    variance_amount numeric(15,2),
    variance_percent numeric(10,4),
    trend_component numeric(15,2),
    seasonal_component numeric(15,2),
    cyclical_component numeric(15,2),
    irregular_component numeric(15,2),
    external_factor_impact numeric(15,2),
    prediction_strength numeric(5,3),
    volatility_score numeric(5,3),
    anomaly_score numeric(5,3),
    feature_importance jsonb DEFAULT '{}',
    volume_driver numeric(15,4),
    price_driver numeric(15,4),
    mix_driver numeric(15,4),
    external_drivers jsonb DEFAULT '{}',
    currency_code varchar(3) DEFAULT 'USD',
    exchange_rate numeric(12,6) DEFAULT 1.000000,
    base_currency_value numeric(15,2),
    period_notes text,
    assumptions text,
    risk_factors text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    created_by varchar(36) NOT NULL DEFAULT coalesce(nullif(current_setting('app.current_user_id', true), ''),
            nullif(current_setting('app.current_user', true), ''), left(session_user, 36)),
    updated_by varchar(36) NOT NULL DEFAULT coalesce(nullif(current_setting('app.current_user_id', true), ''),
            nullif(current_setting('app.current_user', true), ''), left(session_user, 36)),
    version integer DEFAULT 1,
    is_deleted boolean DEFAULT false,
    deleted_at timestamptz,
    deleted_by varchar(36),
    CONSTRAINT forecast_data_points_tenant_check CHECK (tenant_id = {{tenant_id}}),
    CONSTRAINT forecast_data_points_fiscal_quarter_check CHECK (fiscal_quarter BETWEEN 1 AND 4),
    CONSTRAINT forecast_data_points_fiscal_month_check CHECK (fiscal_month BETWEEN 1 AND 12),
    CONSTRAINT forecast_data_points_forecast_id_fkey FOREIGN KEY (forecast_id) REFERENCES forecasts (id)
);

CREATE TABLE variance_analysis (
    id varchar(36) NOT NULL CONSTRAINT variance_analysis_pkey PRIMARY KEY,
    tenant_id varchar(36) NOT NULL DEFAULT nullif(current_setting('app.current_tenant', true), ''),
    analysis_name varchar(255) NOT NULL,
    analysis_type varchar(50) NOT NULL,
    analysis_period_start date NOT NULL,
    analysis_period_end date NOT NULL,
    comparison_period_start date,
    comparison_period_end date,
    budget_id varchar(36),
    forecast_id varchar(36),
    department_code varchar(50),
    account_category varchar(100),
    analysis_scope varchar(50) DEFAULT 'detailed',
    baseline_amount numeric(15,2) NOT NULL,
    actual_amount numeric(15,2) NOT NULL,
    variance_amount numeric(15,2) NOT NULL,
    variance_percent numeric(10,4) NOT NULL,
    absolute_variance numeric(15,2) NOT NULL,
    variance_type varchar(20) NOT NULL,
    significance_level varchar(20) NOT NULL,
    variance_threshold_exceeded boolean DEFAULT false,
    requires_investigation boolean DEFAULT false,
    primary_cause varchar(100),
    contributing_factors jsonb DEFAULT '[]',
    root_cause_category varchar(50),
    impact_assessment text,
    ai_explanation text,
    ai_confidence_score numeric(5,3),
    anomaly_detected boolean DEFAULT false,
    pattern_analysis jsonb DEFAULT '{}',
    correlation_factors jsonb DEFAULT '{}',
    recommended_actions jsonb DEFAULT '[]',
    action_priority varchar(20) DEFAULT 'medium',
    estimated_impact numeric(15,2),
    action_timeline varchar(50),
    responsible_party varchar(100),
    investigation_status varchar(50) DEFAULT 'pending',
    investigated_by varchar(36),
    investigation_date date,
    investigation_notes text,
    resolution_status varchar(50) DEFAULT 'open',
    analysis_accuracy numeric(5,3),
    prediction_quality numeric(5,3),
    time_to_detection_days integer,
    resolution_time_days integer,
    ai_analysis_job_id varchar(36),
    notification_sent boolean DEFAULT false,
    workflow_triggered boolean DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    created_by varchar(36) NOT NULL DEFAULT coalesce(nullif(current_setting('app.current_user_id', true), ''),
            nullif(current_setting('app.current_user', true), ''), left(session_user, 36)),
    updated_by varchar(36) NOT NULL DEFAULT coalesce(nullif(current_setting('app.current_user_id', true), ''),
            nullif(current_setting('app.current_user', true), ''), left(session_user, 36)),
    version integer DEFAULT 1,
    is_deleted boolean DEFAULT false,
    deleted_at timestamptz,
    deleted_by varchar(36),
    CONSTRAINT variance_analysis_tenant_check CHECK (tenant_id = {{tenant_id}}),
    CONSTRAINT variance_analysis_period_check CHECK (analysis_period_end > analysis_period_start),
    CONSTRAINT variance_analysis_budget_id_fkey FOREIGN KEY (budget_id) REFERENCES budgets (id),
    CONSTRAINT variance_analysis_forecast_id_fkey FOREIGN KEY (forecast_id) REFERENCES forecasts (id)
);

CREATE TABLE scenarios (
    id varchar(36) NOT NULL CONSTRAINT scenarios_pkey PRIMARY KEY,
    tenant_id varchar(36) NOT NULL DEFAULT nullif(current_setting('app.current_tenant', true), ''),
    scenario_name varchar(255) NOT NULL,
    scenario_description text,
    scenario_type varchar(20) NOT NULL,
    scenario_category varchar(50),
    probability_weight numeric(5,3) DEFAULT 0.333,
    time_horizon_months integer NOT NULL,
    scenario_start_date date NOT NULL,
    scenario_end_date date NOT NULL,
    base_budget_id varchar(36),
    base_forecast_id varchar(36),
    comparison_baseline varchar(50) DEFAULT 'current_budget',
    key_assumptions jsonb DEFAULT '[]',
    variable_changes jsonb DEFAULT '{}',
    external_factors jsonb DEFAULT '{}',
    market_conditions text,
    total_revenue_impact numeric(15,2) DEFAULT 0.00,
    total_expense_impact numeric(15,2) DEFAULT 0.00,
    net_income_impact numeric(15,2) DEFAULT 0.00,
    cash_flow_impact numeric(15,2) DEFAULT 0.00,
    risk_level varchar(20) DEFAULT 'medium',
    downside_risk numeric(15,2),
    upside_potential numeric(15,2),
    value_at_risk numeric(15,2),
    sensitivity_variables jsonb DEFAULT '[]',
    elasticity_factors jsonb DEFAULT '{}',
    break_even_points jsonb DEFAULT '{}',
    simulation_enabled boolean DEFAULT false,
    simulation_iterations integer DEFAULT 1000,
    confidence_intervals jsonb DEFAULT '{}',
    distribution_parameters jsonb DEFAULT '{}',
    strategic_implications text,
    recommended_decisions jsonb DEFAULT '[]',
    contingency_plans jsonb DEFAULT '[]',
    monitoring_indicators jsonb DEFAULT '[]',
    calculation_method varchar(50) DEFAULT 'analytical',
    model_complexity varchar(20) DEFAULT 'medium',
    last_calculation_date timestamptz,
    calculation_duration_seconds integer,
    scenario_owner varchar(36),
    review_participants jsonb DEFAULT '[]',
    last_review_date date,
    review_status varchar(50) DEFAULT 'draft',
    approval_required boolean DEFAULT false,
    approved_by varchar(36),
    approval_date date,
    simulation_job_id varchar(36),
    ai_modeling_job_id varchar(36),
    document_folder_id varchar(36),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    created_by varchar(36) NOT NULL DEFAULT coalesce(nullif(current_setting('app.current_user_id', true), ''),
            nullif(current_setting('app.current_user', true), ''), left(session_user, 36)),
    updated_by varchar(36) NOT NULL DEFAULT coalesce(nullif(current_setting('app.current_user_id', true), ''),
            nullif(current_setting('app.current_user', true), ''), left(session_user, 36)),
    version integer DEFAULT 1,
    is_deleted boolean DEFAULT false,
    deleted_at timestamptz,
    deleted_by varchar(36),
    CONSTRAINT scenarios_tenant_check CHECK (tenant_id = {{tenant_id}}),
    CONSTRAINT scenarios_horizon_check CHECK (time_horizon_months BETWEEN 1 AND 60),
    CONSTRAINT scenarios_period_check CHECK (scenario_end_date > scenario_start_date),
    CONSTRAINT scenarios_iterations_check CHECK (simulation_iterations BETWEEN 100 AND 100000),
    CONSTRAINT scenarios_base_budget_id_fkey FOREIGN KEY (base_budget_id) REFERENCES budgets (id),
    CONSTRAINT scenarios_base_forecast_id_fkey FOREIGN KEY (base_forecast_id) REFERENCES forecasts (id)
);

-- section: index
-- CREATE INDEX CONCURRENTLY cannot run in a transaction; a new tenant's tables are empty.

CREATE INDEX IF NOT EXISTS {{index budgets_tenant_fiscal}} ON budgets (tenant_id, fiscal_year);

CREATE INDEX IF NOT EXISTS {{index budgets_status}} ON budgets (status, is_deleted);

CREATE INDEX IF NOT EXISTS {{index budgets_department}} ON budgets (department_code, cost_center_code);

CREATE INDEX IF NOT EXISTS {{index budget_lines_budget}} ON budget_lines (budget_id, line_number);

CREATE INDEX IF NOT EXISTS {{index budget_lines_account}} ON budget_lines (account_code, account_category_id);

CREATE INDEX IF NOT EXISTS {{index budget_lines_period}} ON budget_lines (period_start, period_end);

CREATE INDEX IF NOT EXISTS {{index forecasts_tenant_type}} ON forecasts (tenant_id, forecast_type, status);

CREATE INDEX IF NOT EXISTS {{index forecasts_method}} ON forecasts (forecast_method, algorithm_type);

CREATE INDEX IF NOT EXISTS {{index forecast_data_forecast}} ON forecast_data_points (forecast_id, period_date);

CREATE INDEX IF NOT EXISTS {{index forecast_data_fiscal}} ON forecast_data_points (fiscal_year, fiscal_quarter);

CREATE INDEX IF NOT EXISTS {{index variance_period}} ON variance_analysis (analysis_period_start, analysis_period_end);

CREATE INDEX IF NOT EXISTS {{index variance_significance}} ON variance_analysis (significance_level, requires_investigation);

CREATE INDEX IF NOT EXISTS {{index scenarios_type}} ON scenarios (scenario_type, scenario_category);

CREATE INDEX IF NOT EXISTS {{index scenarios_base}} ON scenarios (base_budget_id, base_forecast_id);

CREATE INDEX IF NOT EXISTS {{index variance_budget}} ON variance_analysis (budget_id);

CREATE INDEX IF NOT EXISTS {{index variance_forecast}} ON variance_analysis (forecast_id);

CREATE INDEX IF NOT EXISTS {{index scenarios_forecast}} ON scenarios (base_forecast_id);

-- section: trigger

CREATE TRIGGER touch_row BEFORE UPDATE ON budgets FOR EACH ROW EXECUTE FUNCTION bf_control.touch_row();

CREATE TRIGGER touch_row BEFORE UPDATE ON forecasts FOR EACH ROW EXECUTE FUNCTION bf_control.touch_row();

CREATE TRIGGER touch_row BEFORE UPDATE ON budget_lines FOR EACH ROW EXECUTE FUNCTION bf_control.touch_row();

CREATE TRIGGER touch_row BEFORE UPDATE ON forecast_data_points FOR EACH ROW EXECUTE FUNCTION bf_control.touch_row();

CREATE TRIGGER touch_row BEFORE UPDATE ON variance_analysis FOR EACH ROW EXECUTE FUNCTION bf_control.touch_row();

CREATE TRIGGER touch_row BEFORE UPDATE ON scenarios FOR EACH ROW EXECUTE FUNCTION bf_control.touch_row();

-- section: rls
-- An unset context is NULL and an empty one is no tenant id: both match nothing and raise nothing.

ALTER TABLE budgets ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;

CREATE POLICY tenant_isolation_budgets ON budgets FOR ALL TO {{app_role}}
    USING (tenant_id = current_setting('app.current_tenant', true))
    WITH CHECK (tenant_id = current_setting('app.current_tenant', true));

CREATE POLICY audit_access_budgets ON budgets FOR SELECT TO {{audit_role}} USING (true);

ALTER TABLE forecasts ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;

CREATE POLICY tenant_isolation_forecasts ON forecasts FOR ALL TO {{app_role}}
    USING (tenant_id = current_setting('app.current_tenant', true))
    WITH CHECK (tenant_id = current_setting('app.current_tenant', true));

CREATE POLICY audit_access_forecasts ON forecasts FOR SELECT TO {{audit_role}} USING (true);

ALTER TABLE budget_lines ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;

CREATE POLICY tenant_isolation_budget_lines ON budget_lines FOR ALL TO {{app_role}}
    USING (tenant_id = current_setting('app.current_tenant', true))
    WITH CHECK (tenant_id = current_setting('app.current_tenant', true));

CREATE POLICY audit_access_budget_lines ON budget_lines FOR SELECT TO {{audit_role}} USING (true);

ALTER TABLE forecast_data_points ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;

CREATE POLICY tenant_isolation_forecast_data_points ON forecast_data_points FOR ALL TO {{app_role}}
    USING (tenant_id = current_setting('app.current_tenant', true))
    WITH CHECK (tenant_id = current_setting('app.current_tenant', true));

CREATE POLICY audit_access_forecast_data_points ON forecast_data_points FOR SELECT TO {{audit_role}} USING (true);

ALTER TABLE variance_analysis ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;

CREATE POLICY tenant_isolation_variance_analysis ON variance_analysis FOR ALL TO {{app_role}}
    USING (tenant_id = current_setting('app.current_tenant', true))
    WITH CHECK (tenant_id = current_setting('app.current_tenant', true));

CREATE POLICY audit_access_variance_analysis ON variance_analysis FOR SELECT TO {{audit_role}} USING (true);

ALTER TABLE scenarios ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;

CREATE POLICY tenant_isolation_scenarios ON scenarios FOR ALL TO {{app_role}}
    USING (tenant_id = current_setting('app.current_tenant', true))
    WITH CHECK (tenant_id = current_setting('app.current_tenant', true));

CREATE POLICY audit_access_scenarios ON scenarios FOR SELECT TO {{audit_role}} USING (true);

-- section: grant
-- On the six by name: ON ALL TABLES IN SCHEMA would scan pg_class, every tenant's share of it.

GRANT USAGE ON SCHEMA {{schema}} TO {{app_role}}, {{audit_role}};

GRANT SELECT, INSERT, UPDATE, DELETE ON budgets, forecasts, budget_lines, forecast_data_points, variance_analysis, scenarios
    TO {{app_role}};

GRANT SELECT ON budgets, forecasts, budget_lines, forecast_data_points, variance_analysis, scenarios TO {{audit_role}};
