-- Suspending, deleting and bringing back a tenant from SQL. The service does the same through the same function.
-- section: functions

CREATE FUNCTION {{shared}}.suspend_tenant(tenant_id text, reason text DEFAULT NULL) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT bf_control.move_tenant_by_hand($1, 'tenant.suspend', ARRAY['active'], 'suspended', $2)
$function$;

CREATE FUNCTION {{shared}}.resume_tenant(tenant_id text, reason text DEFAULT NULL) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT bf_control.move_tenant_by_hand($1, 'tenant.resume', ARRAY['suspended'], 'active', $2)
$function$;

CREATE FUNCTION {{shared}}.delete_tenant(
    tenant_id text, reason text DEFAULT NULL, grace interval DEFAULT '30 days'
) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT bf_control.move_tenant_by_hand($1, 'tenant.delete', ARRAY['active', 'suspended'], 'deleted', $2,
                                          coalesce($3, interval '30 days'))
$function$;

CREATE FUNCTION {{shared}}.restore_tenant(tenant_id text, reason text DEFAULT NULL) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT bf_control.move_tenant_by_hand($1, 'tenant.restore', ARRAY['deleted'], NULL, $2)
$function$;

-- By its name it comes before tenant_config_check, which would say less.
CREATE TRIGGER tenant_config_active BEFORE UPDATE OF is_active ON {{shared}}.tenant_config
    FOR EACH ROW WHEN (NEW.is_active <> OLD.is_active) EXECUTE FUNCTION bf_control.tenant_config_active();

-- section: grants

REVOKE ALL ON FUNCTION {{shared}}.suspend_tenant(text, text), {{shared}}.resume_tenant(text, text),
    {{shared}}.delete_tenant(text, text, interval), {{shared}}.restore_tenant(text, text) FROM PUBLIC;
