"""What contract/database.md says, typed in: the tests compare the catalogue with this, and never with the files."""

from typing import Final

# column, type, `null` or `not null`, and the default where there is one
TENANT_TABLES: Final = {
    "budgets": """
id                       varchar(36)    not null
budget_name              varchar(255)   not null
budget_code              varchar(50)    null
budget_type              varchar(20)    not null
fiscal_year              integer        not null
budget_period_start      date           not null
budget_period_end        date           not null
status                   varchar(20)    null      'draft'
workflow_state           varchar(100)   null
approval_level           integer        null      0
requires_approval        boolean        null      true
base_currency            varchar(3)     null      'USD'
budget_method            varchar(50)    null      'zero_based'
planning_horizon_months  integer        null      12
template_id              varchar(36)    null
parent_budget_id         varchar(36)    null
is_template              boolean        null      false
template_usage_count     integer        null      0
department_code          varchar(50)    null
cost_center_code         varchar(50)    null
business_unit            varchar(100)   null
region_code              varchar(50)    null
total_budget_amount      numeric(15,2)  null      0.00
total_committed_amount   numeric(15,2)  null      0.00
total_actual_amount      numeric(15,2)  null      0.00
variance_amount          numeric(15,2)  null      0.00
variance_percent         numeric(10,4)  null      0.0000
ai_confidence_score      numeric(5,3)   null      0.000
risk_assessment_score    numeric(5,3)   null      0.000
ai_recommendations       jsonb          null      '[]'
forecast_accuracy_score  numeric(5,3)   null
collaboration_enabled    boolean        null      true
notification_settings    jsonb          null      '{}'
last_activity_date       date           null
active_contributors      jsonb          null      '[]'
document_folder_id       varchar(36)    null
workflow_instance_id     varchar(36)    null
ai_job_id                varchar(36)    null
""",
    "budget_lines": """
id                        varchar(36)    not null
budget_id                 varchar(36)    not null
line_number               integer        not null
line_description          varchar(500)   not null
line_category             varchar(100)   not null
line_type                 varchar(20)    not null
account_code              varchar(50)    not null
account_category_id       varchar(36)    null
gl_account                varchar(50)    null
department_code           varchar(50)    null
cost_center_code          varchar(50)    null
project_code              varchar(50)    null
activity_code             varchar(50)    null
location_code             varchar(50)    null
period_start              date           not null
period_end                date           not null
allocation_method         varchar(50)    null      'equal'
budgeted_amount           numeric(15,2)  not null
forecasted_amount         numeric(15,2)  null
committed_amount          numeric(15,2)  null      0.00
actual_amount             numeric(15,2)  null      0.00
variance_amount           numeric(15,2)  null      0.00
variance_percent          numeric(10,4)  null      0.0000
month_01_amount           numeric(15,2)  null      0.00
month_02_amount           numeric(15,2)  null      0.00
month_03_amount           numeric(15,2)  null      0.00
month_04_amount           numeric(15,2)  null      0.00
month_05_amount           numeric(15,2)  null      0.00
month_06_amount           numeric(15,2)  null      0.00
month_07_amount           numeric(15,2)  null      0.00
month_08_amount           numeric(15,2)  null      0.00
month_09_amount           numeric(15,2)  null      0.00
month_10_amount           numeric(15,2)  null      0.00
month_11_amount           numeric(15,2)  null      0.00
month_12_amount           numeric(15,2)  null      0.00
q1_amount                 numeric(15,2)  null      0.00
q2_amount                 numeric(15,2)  null      0.00
q3_amount                 numeric(15,2)  null      0.00
q4_amount                 numeric(15,2)  null      0.00
currency_code             varchar(3)     null      'USD'
exchange_rate             numeric(12,6)  null      1.000000
base_currency_amount      numeric(15,2)  null
quantity_driver           varchar(100)   null
unit_quantity             numeric(15,4)  null
unit_price                numeric(15,4)  null
price_escalation_percent  numeric(8,4)   null      0.0000
approval_status           varchar(20)    null      'pending'
approval_level            integer        null      0
approved_by               varchar(36)    null
approved_date             date           null
rejection_reason          text           null
ai_confidence_score       numeric(5,3)   null      0.000
seasonality_factor        numeric(8,4)   null      1.0000
trend_factor              numeric(8,4)   null      1.0000
ai_adjustments            jsonb          null      '{}'
line_notes                text           null
business_justification    text           null
assumptions               text           null
""",
    "forecasts": """
id                             varchar(36)    not null
forecast_name                  varchar(255)   not null
forecast_code                  varchar(50)    null
forecast_type                  varchar(20)    not null
forecast_method                varchar(20)    not null
forecast_horizon_months        integer        not null
forecast_frequency             varchar(20)    null      'monthly'
base_period_start              date           not null
base_period_end                date           not null
forecast_period_start          date           not null
forecast_period_end            date           not null
algorithm_type                 varchar(50)    null
model_version                  varchar(50)    null
model_parameters               jsonb          null      '{}'
feature_selection              jsonb          null      '{}'
data_sources                   jsonb          null      '[]'
input_variables                jsonb          null      '[]'
external_factors               jsonb          null      '[]'
historical_months_used         integer        null      24
accuracy_score                 numeric(5,3)   null
confidence_level               numeric(5,3)   null      0.950
confidence_interval_lower      numeric(15,2)  null
confidence_interval_upper      numeric(15,2)  null
mae_score                      numeric(15,4)  null
mape_score                     numeric(15,4)  null
rmse_score                     numeric(15,4)  null
scenario_type                  varchar(20)    null      'base'
probability_weight             numeric(5,3)   null      1.000
scenario_assumptions           text           null
sensitivity_analysis           jsonb          null      '{}'
department_code                varchar(50)    null
business_unit                  varchar(100)   null
product_category               varchar(100)   null
market_segment                 varchar(100)   null
geographic_region              varchar(100)   null
status                         varchar(20)    null      'draft'
generation_status              varchar(50)    null
last_generation_date           timestamptz    null
next_generation_date           timestamptz    null
auto_generation_enabled        boolean        null      false
forecast_value                 numeric(15,2)  null
actual_value                   numeric(15,2)  null
variance_amount                numeric(15,2)  null
variance_percent               numeric(10,4)  null
accuracy_trend                 varchar(20)    null
ai_job_id                      varchar(36)    null
time_series_job_id             varchar(36)    null
federated_learning_session_id  varchar(36)    null
reviewed_by                    varchar(36)    null
review_date                    date           null
review_notes                   text           null
approved_for_planning          boolean        null      false
""",
    "forecast_data_points": """
id                      varchar(36)    not null
forecast_id             varchar(36)    not null
period_date             date           not null
period_type             varchar(20)    not null
period_sequence         integer        not null
fiscal_year             integer        null
fiscal_quarter          integer        null
fiscal_month            integer        null
forecasted_value        numeric(15,2)  not null
confidence_lower        numeric(15,2)  null
confidence_upper        numeric(15,2)  null
actual_value            numeric(15,2)  null
variance_amount         numeric(15,2)  null
variance_percent        numeric(10,4)  null
trend_component         numeric(15,2)  null
seasonal_component      numeric(15,2)  null
cyclical_component      numeric(15,2)  null
irregular_component     numeric(15,2)  null
external_factor_impact  numeric(15,2)  null
prediction_strength     numeric(5,3)   null
volatility_score        numeric(5,3)   null
anomaly_score           numeric(5,3)   null
feature_importance      jsonb          null      '{}'
volume_driver           numeric(15,4)  null
price_driver            numeric(15,4)  null
mix_driver              numeric(15,4)  null
external_drivers        jsonb          null      '{}'
currency_code           varchar(3)     null      'USD'
exchange_rate           numeric(12,6)  null      1.000000
base_currency_value     numeric(15,2)  null
period_notes            text           null
assumptions             text           null
risk_factors            text           null
""",
    "variance_analysis": """
id                           varchar(36)    not null
analysis_name                varchar(255)   not null
analysis_type                varchar(50)    not null
analysis_period_start        date           not null
analysis_period_end          date           not null
comparison_period_start      date           null
comparison_period_end        date           null
budget_id                    varchar(36)    null
forecast_id                  varchar(36)    null
department_code              varchar(50)    null
account_category             varchar(100)   null
analysis_scope               varchar(50)    null      'detailed'
baseline_amount              numeric(15,2)  not null
actual_amount                numeric(15,2)  not null
variance_amount              numeric(15,2)  not null
variance_percent             numeric(10,4)  not null
absolute_variance            numeric(15,2)  not null
variance_type                varchar(20)    not null
significance_level           varchar(20)    not null
variance_threshold_exceeded  boolean        null      false
requires_investigation       boolean        null      false
primary_cause                varchar(100)   null
contributing_factors         jsonb          null      '[]'
root_cause_category          varchar(50)    null
impact_assessment            text           null
ai_explanation               text           null
ai_confidence_score          numeric(5,3)   null
anomaly_detected             boolean        null      false
pattern_analysis             jsonb          null      '{}'
correlation_factors          jsonb          null      '{}'
recommended_actions          jsonb          null      '[]'
action_priority              varchar(20)    null      'medium'
estimated_impact             numeric(15,2)  null
action_timeline              varchar(50)    null
responsible_party            varchar(100)   null
investigation_status         varchar(50)    null      'pending'
investigated_by              varchar(36)    null
investigation_date           date           null
investigation_notes          text           null
resolution_status            varchar(50)    null      'open'
analysis_accuracy            numeric(5,3)   null
prediction_quality           numeric(5,3)   null
time_to_detection_days       integer        null
resolution_time_days         integer        null
ai_analysis_job_id           varchar(36)    null
notification_sent            boolean        null      false
workflow_triggered           boolean        null      false
""",
    "scenarios": """
id                            varchar(36)    not null
scenario_name                 varchar(255)   not null
scenario_description          text           null
scenario_type                 varchar(20)    not null
scenario_category             varchar(50)    null
probability_weight            numeric(5,3)   null      0.333
time_horizon_months           integer        not null
scenario_start_date           date           not null
scenario_end_date             date           not null
base_budget_id                varchar(36)    null
base_forecast_id              varchar(36)    null
comparison_baseline           varchar(50)    null      'current_budget'
key_assumptions               jsonb          null      '[]'
variable_changes              jsonb          null      '{}'
external_factors              jsonb          null      '{}'
market_conditions             text           null
total_revenue_impact          numeric(15,2)  null      0.00
total_expense_impact          numeric(15,2)  null      0.00
net_income_impact             numeric(15,2)  null      0.00
cash_flow_impact              numeric(15,2)  null      0.00
risk_level                    varchar(20)    null      'medium'
downside_risk                 numeric(15,2)  null
upside_potential              numeric(15,2)  null
value_at_risk                 numeric(15,2)  null
sensitivity_variables         jsonb          null      '[]'
elasticity_factors            jsonb          null      '{}'
break_even_points             jsonb          null      '{}'
simulation_enabled            boolean        null      false
simulation_iterations         integer        null      1000
confidence_intervals          jsonb          null      '{}'
distribution_parameters       jsonb          null      '{}'
strategic_implications        text           null
recommended_decisions         jsonb          null      '[]'
contingency_plans             jsonb          null      '[]'
monitoring_indicators         jsonb          null      '[]'
calculation_method            varchar(50)    null      'analytical'
model_complexity              varchar(20)    null      'medium'
last_calculation_date         timestamptz    null
calculation_duration_seconds  integer        null
scenario_owner                varchar(36)    null
review_participants           jsonb          null      '[]'
last_review_date              date           null
review_status                 varchar(50)    null      'draft'
approval_required             boolean        null      false
approved_by                   varchar(36)    null
approval_date                 date           null
simulation_job_id             varchar(36)    null
ai_modeling_job_id            varchar(36)    null
document_folder_id            varchar(36)    null
""",
}

# What each of the six carries besides. Where the default is the context, the tests ask what it does.
EVERY_TENANT_TABLE: Final = """
tenant_id   varchar(36)  not null  context
created_at  timestamptz  not null  now()
updated_at  timestamptz  not null  now()
created_by  varchar(36)  not null  context
updated_by  varchar(36)  not null  context
version     integer      null      1
is_deleted  boolean      null      false
deleted_at  timestamptz  null
deleted_by  varchar(36)  null
"""

SHARED_TABLES: Final = {
    "tenant_config": """
tenant_id               varchar(36)   not null
tenant_name             varchar(255)  not null
created_at              timestamptz   not null  now()
updated_at              timestamptz   not null  now()
is_active               boolean       not null  true
features_enabled        jsonb         not null  '[]'
budget_features         jsonb         not null  '{}'
forecast_features       jsonb         not null  '{}'
analytics_features      jsonb         not null  '{}'
apg_integrations        jsonb         not null  '{}'
external_systems        jsonb         not null  '{}'
fiscal_year_start       date          not null  '2025-01-01'
default_currency        varchar(3)    not null  'USD'
time_zone               varchar(50)   not null  'UTC'
department_hierarchy    jsonb         not null  '{}'
cost_centers            jsonb         not null  '[]'
approval_workflows      jsonb         not null  '{}'
data_retention_days     integer       not null  2555
encryption_enabled      boolean       not null  true
audit_level             varchar(20)   not null  'detailed'
max_budget_lines        integer       not null  100000
forecast_horizon_limit  integer       not null  60
concurrent_users_limit  integer       not null  100
subscription_tier       varchar(20)   not null  'standard'
usage_limits            jsonb         not null  '{}'
billing_contact         varchar(255)  null
""",
    "budget_templates": """
template_id           varchar(36)    not null
owner_tenant_id       varchar(36)    not null
template_name         varchar(255)   not null
template_description  text           null
template_category     varchar(100)   null
is_public             boolean        null      false
is_system             boolean        null      false
usage_count           integer        null      0
shared_with_tenants   varchar(36)[]  null      '{}'
template_data         jsonb          not null
created_at            timestamptz    null      now()
updated_at            timestamptz    null      now()
created_by            varchar(36)    not null
is_deleted            boolean        null      false
""",
    "account_categories": """
category_id         varchar(36)   not null
category_code       varchar(20)   not null
category_name       varchar(100)  not null
category_type       varchar(20)   not null
parent_category_id  varchar(36)   null
gl_account_range    varchar(50)   null
is_system           boolean       null      true
sort_order          integer       null      0
""",
    "currency_rates": """
rate_id        varchar(36)    not null
from_currency  varchar(3)     not null
to_currency    varchar(3)     not null
rate_date      date           not null
exchange_rate  numeric(12,6)  not null
rate_source    varchar(50)    null      'manual'
created_at     timestamptz    null      now()
""",
    "industry_benchmarks": """
benchmark_id       varchar(36)    not null
industry_code      varchar(20)    not null
metric_name        varchar(100)   not null
metric_category    varchar(50)    not null
percentile_25      numeric(15,4)  null
percentile_50      numeric(15,4)  null
percentile_75      numeric(15,4)  null
percentile_90      numeric(15,4)  null
participant_count  integer        null      0
anonymized         boolean        null      true
last_updated       timestamptz    null      now()
""",
}

PRIMARY_KEYS: Final = {
    **dict.fromkeys(TENANT_TABLES, "id"),
    "tenant_config": "tenant_id",
    "budget_templates": "template_id",
    "account_categories": "category_id",
    "currency_rates": "rate_id",
    "industry_benchmarks": "benchmark_id",
}

FOREIGN_KEYS: Final = {
    ("budget_lines", "budget_id", "budgets"),
    ("variance_analysis", "budget_id", "budgets"),
    ("scenarios", "base_budget_id", "budgets"),
    ("forecast_data_points", "forecast_id", "forecasts"),
    ("variance_analysis", "forecast_id", "forecasts"),
    ("scenarios", "base_forecast_id", "forecasts"),
}

# table, columns, what follows idx_{tenant}_
INDEXES: Final = {
    ("budgets", "tenant_id, fiscal_year", "budgets_tenant_fiscal"),
    ("budgets", "status, is_deleted", "budgets_status"),
    ("budgets", "department_code, cost_center_code", "budgets_department"),
    ("budget_lines", "budget_id, line_number", "budget_lines_budget"),
    ("budget_lines", "account_code, account_category_id", "budget_lines_account"),
    ("budget_lines", "period_start, period_end", "budget_lines_period"),
    ("forecasts", "tenant_id, forecast_type, status", "forecasts_tenant_type"),
    ("forecasts", "forecast_method, algorithm_type", "forecasts_method"),
    ("forecast_data_points", "forecast_id, period_date", "forecast_data_forecast"),
    ("forecast_data_points", "fiscal_year, fiscal_quarter", "forecast_data_fiscal"),
    ("variance_analysis", "analysis_period_start, analysis_period_end", "variance_period"),
    ("variance_analysis", "significance_level, requires_investigation", "variance_significance"),
    ("scenarios", "scenario_type, scenario_category", "scenarios_type"),
    ("scenarios", "base_budget_id, base_forecast_id", "scenarios_base"),
}

# table, columns, unique; their names are ours to choose
SHARED_INDEXES: Final = {
    ("budget_templates", "owner_tenant_id, is_deleted", False),
    ("budget_templates", "is_public, is_deleted", False),
    ("account_categories", "category_code", True),
    ("account_categories", "category_type, parent_category_id", False),
    ("currency_rates", "from_currency, to_currency, rate_date, rate_source", True),
    ("industry_benchmarks", "industry_code, metric_category", False),
}

# function, returns, SECURITY DEFINER with a pinned search_path
FUNCTIONS: Final = {
    ("setup_tenant(text,text,text)", "boolean", True),
    ("create_tenant_rls_policies(text)", "void", True),
    ("create_tenant_indexes(text)", "void", True),
    ("insert_default_data()", "void", True),
    ("set_tenant_context(text,text)", "void", False),
    ("suspend_tenant(text,text)", "void", True),
    ("resume_tenant(text,text)", "void", True),
    ("delete_tenant(text,text,interval)", "void", True),
    ("restore_tenant(text,text)", "void", True),
}

CATEGORIES: Final = {
    ("REV", "Revenue", "revenue", None, 1),
    ("REV_SALES", "Sales Revenue", "revenue", "REV", 2),
    ("REV_SERVICE", "Service Revenue", "revenue", "REV", 3),
    ("EXP", "Expenses", "expense", None, 10),
    ("EXP_SALARY", "Salary Expenses", "expense", "EXP", 11),
    ("EXP_TRAVEL", "Travel Expenses", "expense", "EXP", 12),
    ("EXP_MARKETING", "Marketing Expenses", "expense", "EXP", 13),
    ("ASSET", "Assets", "asset", None, 20),
    ("LIABILITY", "Liabilities", "liability", None, 30),
}

RATES: Final = {
    ("USD", "EUR", "0.85"),
    ("USD", "GBP", "0.75"),
    ("USD", "JPY", "110"),
    ("EUR", "USD", "1.18"),
    ("GBP", "USD", "1.33"),
}
