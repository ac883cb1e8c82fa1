-- As before, but for a backup that is written back: a limit that is out of its range by now, or gone from the
-- catalogue, is no reason to keep a tenant from its books. It holds as any such value that is stored already.
CREATE OR REPLACE FUNCTION bf_control.tenant_limits_check() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    own text[];
    wrong text;
BEGIN
    IF TG_OP = 'INSERT' AND bf_control.is_being_restored(NEW.tenant_id) THEN
        RETURN NEW;
    ELSIF TG_OP = 'INSERT' THEN
        -- A column that has its default was not given.
        IF NEW.max_budget_lines = 100000 THEN
            NEW.max_budget_lines := bf_control.inherited_limit('max_budget_lines', NEW.subscription_tier);
        END IF;
        IF NEW.forecast_horizon_limit = 60 THEN
            NEW.forecast_horizon_limit := bf_control.inherited_limit('forecast_horizon_limit', NEW.subscription_tier);
        END IF;
        IF NEW.concurrent_users_limit = 100 THEN
            NEW.concurrent_users_limit := bf_control.inherited_limit('concurrent_users_limit', NEW.subscription_tier);
        END IF;
    ELSIF NEW.subscription_tier <> OLD.subscription_tier THEN
        own := ARRAY(SELECT o.limit_name FROM bf_control.tenant_limit o WHERE o.tenant_id = NEW.tenant_id);
        IF NEW.max_budget_lines = OLD.max_budget_lines AND 'max_budget_lines' <> ALL (own) THEN
            NEW.max_budget_lines := bf_control.inherited_limit('max_budget_lines', NEW.subscription_tier);
        END IF;
        IF NEW.forecast_horizon_limit = OLD.forecast_horizon_limit AND 'forecast_horizon_limit' <> ALL (own) THEN
            NEW.forecast_horizon_limit := bf_control.inherited_limit('forecast_horizon_limit', NEW.subscription_tier);
        END IF;
        IF NEW.concurrent_users_limit = OLD.concurrent_users_limit AND 'concurrent_users_limit' <> ALL (own) THEN
            NEW.concurrent_users_limit := bf_control.inherited_limit('concurrent_users_limit', NEW.subscription_tier);
        END IF;
    ELSIF NEW.usage_limits = OLD.usage_limits AND NEW.max_budget_lines = OLD.max_budget_lines
          AND NEW.forecast_horizon_limit = OLD.forecast_horizon_limit
          AND NEW.concurrent_users_limit = OLD.concurrent_users_limit THEN
        RETURN NEW;
    END IF;
    wrong := bf_control.wrong_limits(
        jsonb_build_object('max_budget_lines', NEW.max_budget_lines,
                           'forecast_horizon_limit', NEW.forecast_horizon_limit,
                           'concurrent_users_limit', NEW.concurrent_users_limit), true,
        CASE TG_OP WHEN 'UPDATE' THEN to_jsonb(OLD) ELSE '{}' END);
    IF wrong IS NULL AND jsonb_typeof(NEW.usage_limits) = 'object' THEN
        wrong := bf_control.wrong_limits(
            NEW.usage_limits, false, CASE TG_OP WHEN 'UPDATE' THEN OLD.usage_limits ELSE '{}' END);
    END IF;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION '%', wrong
            USING ERRCODE = 'check_violation', HINT = 'bf_control.usage_limit is the catalogue of limits.';
    END IF;
    RETURN NEW;
END
$function$;
