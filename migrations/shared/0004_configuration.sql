-- What the API accepts as configuration the table accepts, and the other way round. Everything that the release before
-- writes passes.
-- section: tables

-- NOT VALID first: the lock is taken before anything is mended.
ALTER TABLE {{shared}}.tenant_config
    ADD CONSTRAINT tenant_config_fiscal_year_start_check
        CHECK (fiscal_year_start BETWEEN '0001-01-01' AND '9999-12-31') NOT VALID,
    ADD CONSTRAINT tenant_config_audit_level_word_check CHECK (audit_level ~ '^[a-z][a-z0-9_]{0,19}$') NOT VALID,
    ADD CONSTRAINT tenant_config_time_zone_name_check CHECK (time_zone ~ '^[A-Za-z0-9_+/-]{1,50}$') NOT VALID;

-- Only SQL can have stored these. The defaults take their place, and history keeps what they were, and why they went.
SELECT set_config('bf.reason', 'the upgrade put the default in place of what the API does not take', true);

UPDATE {{shared}}.tenant_config
   SET fiscal_year_start = CASE WHEN fiscal_year_start BETWEEN '0001-01-01' AND '9999-12-31' THEN fiscal_year_start
                                ELSE '2025-01-01' END,
       audit_level = CASE WHEN audit_level ~ '^[a-z][a-z0-9_]{0,19}$' THEN audit_level ELSE 'detailed' END,
       time_zone = CASE WHEN time_zone ~ '^[A-Za-z0-9_+/-]{1,50}$' THEN time_zone ELSE 'UTC' END
 WHERE NOT (fiscal_year_start BETWEEN '0001-01-01' AND '9999-12-31'
            AND audit_level ~ '^[a-z][a-z0-9_]{0,19}$' AND time_zone ~ '^[A-Za-z0-9_+/-]{1,50}$');

SELECT set_config('bf.reason', '', true);

ALTER TABLE {{shared}}.tenant_config
    VALIDATE CONSTRAINT tenant_config_fiscal_year_start_check,
    VALIDATE CONSTRAINT tenant_config_audit_level_word_check,
    VALIDATE CONSTRAINT tenant_config_time_zone_name_check,
    ADD CONSTRAINT tenant_config_depth_check CHECK (
        NOT (jsonb_path_exists(budget_features, 'strict $.**{256 to last}')
             OR jsonb_path_exists(forecast_features, 'strict $.**{256 to last}')
             OR jsonb_path_exists(analytics_features, 'strict $.**{256 to last}')
             OR jsonb_path_exists(external_systems, 'strict $.**{256 to last}')
             OR jsonb_path_exists(department_hierarchy, 'strict $.**{256 to last}')
             OR jsonb_path_exists(cost_centers, 'strict $.**{256 to last}')
             OR jsonb_path_exists(approval_workflows, 'strict $.**{256 to last}')
             OR jsonb_path_exists(apg_integrations, 'strict $.**{256 to last}')
             OR jsonb_path_exists(usage_limits, 'strict $.**{256 to last}'))
    ) NOT VALID;

COMMENT ON CONSTRAINT tenant_config_depth_check ON {{shared}}.tenant_config IS
    'How deep the API reads and writes. Not validated: what is deeper could be mended only by throwing it away';

-- section: functions

-- As before, without EXECUTE: here the schema's name is known, and a session keeps the plan.
CREATE OR REPLACE FUNCTION bf_control.tenant_settings(wanted text) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    RETURN (SELECT to_jsonb(c) FROM {{shared}}.tenant_config c WHERE c.tenant_id = wanted);
END
$function$;
