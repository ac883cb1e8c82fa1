-- Rows that limits count: what there is, then every change. The locks come first, so that none is made stronger later.
-- section: trigger

SELECT bf_control.usage_begin({{tenant_id}}, 'budgets', 'max_budgets');

SELECT bf_control.usage_begin({{tenant_id}}, 'budget_lines', 'max_budget_lines');

SELECT bf_control.usage_begin({{tenant_id}}, 'forecasts', 'max_forecasts');

SELECT bf_control.usage_begin({{tenant_id}}, 'scenarios', 'max_scenarios');

CREATE TRIGGER usage_insert AFTER INSERT ON budgets REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION bf_control.usage_count('max_budgets');

CREATE TRIGGER usage_delete AFTER DELETE ON budgets REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION bf_control.usage_count('max_budgets');

CREATE TRIGGER usage_update AFTER UPDATE ON budgets
    FOR EACH ROW WHEN ((OLD.is_deleted IS TRUE) <> (NEW.is_deleted IS TRUE))
    EXECUTE FUNCTION bf_control.usage_change('max_budgets');

CREATE TRIGGER usage_truncate AFTER TRUNCATE ON budgets
    FOR EACH STATEMENT EXECUTE FUNCTION bf_control.usage_clear('max_budgets');

CREATE TRIGGER usage_insert AFTER INSERT ON budget_lines REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION bf_control.usage_count('max_budget_lines');

CREATE TRIGGER usage_delete AFTER DELETE ON budget_lines REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION bf_control.usage_count('max_budget_lines');

CREATE TRIGGER usage_update AFTER UPDATE ON budget_lines
    FOR EACH ROW WHEN ((OLD.is_deleted IS TRUE) <> (NEW.is_deleted IS TRUE))
    EXECUTE FUNCTION bf_control.usage_change('max_budget_lines');

CREATE TRIGGER usage_truncate AFTER TRUNCATE ON budget_lines
    FOR EACH STATEMENT EXECUTE FUNCTION bf_control.usage_clear('max_budget_lines');

CREATE TRIGGER usage_insert AFTER INSERT ON forecasts REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION bf_control.usage_count('max_forecasts');

CREATE TRIGGER usage_delete AFTER DELETE ON forecasts REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION bf_control.usage_count('max_forecasts');

CREATE TRIGGER usage_update AFTER UPDATE ON forecasts
    FOR EACH ROW WHEN ((OLD.is_deleted IS TRUE) <> (NEW.is_deleted IS TRUE)
                       OR NEW.forecast_horizon_months > OLD.forecast_horizon_months)
    EXECUTE FUNCTION bf_control.usage_change('max_forecasts');

CREATE TRIGGER usage_truncate AFTER TRUNCATE ON forecasts
    FOR EACH STATEMENT EXECUTE FUNCTION bf_control.usage_clear('max_forecasts');

CREATE TRIGGER usage_insert AFTER INSERT ON scenarios REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION bf_control.usage_count('max_scenarios');

CREATE TRIGGER usage_delete AFTER DELETE ON scenarios REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION bf_control.usage_count('max_scenarios');

CREATE TRIGGER usage_update AFTER UPDATE ON scenarios
    FOR EACH ROW WHEN ((OLD.is_deleted IS TRUE) <> (NEW.is_deleted IS TRUE))
    EXECUTE FUNCTION bf_control.usage_change('max_scenarios');

CREATE TRIGGER usage_truncate AFTER TRUNCATE ON scenarios
    FOR EACH STATEMENT EXECUTE FUNCTION bf_control.usage_clear('max_scenarios');
