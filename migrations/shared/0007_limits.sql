-- Limits of tenants, brought to where they are enforced by whoever changes tenant_config.
-- section: functions

CREATE TRIGGER tenant_limits_check BEFORE INSERT OR UPDATE ON {{shared}}.tenant_config
    FOR EACH ROW EXECUTE FUNCTION bf_control.tenant_limits_check();

CREATE TRIGGER tenant_limits_record AFTER INSERT OR UPDATE OR DELETE ON {{shared}}.tenant_config
    FOR EACH ROW EXECUTE FUNCTION bf_control.tenant_limits_record();

-- Tenants that are there already: what differs from the default was given to them.
SELECT bf_control.keep_limits(c.tenant_id, c.usage_limits || jsonb_strip_nulls(jsonb_build_object(
           'max_budget_lines', nullif(c.max_budget_lines, bf_control.inherited_limit('max_budget_lines', c.subscription_tier)),
           'forecast_horizon_limit',
           nullif(c.forecast_horizon_limit, bf_control.inherited_limit('forecast_horizon_limit', c.subscription_tier)),
           'concurrent_users_limit',
           nullif(c.concurrent_users_limit, bf_control.inherited_limit('concurrent_users_limit', c.subscription_tier)))))
  FROM {{shared}}.tenant_config c;
