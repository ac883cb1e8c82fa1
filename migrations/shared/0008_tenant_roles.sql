-- Roles of tenants, where BF_TENANT_ROLES asks for them; see bf_control.use_tenant_roles().
-- section: functions

-- Whether who asks may act as that tenant by a role, whatever the context says.
CREATE FUNCTION {{shared}}.is_own_tenant(tenant_id text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT EXISTS (SELECT FROM pg_database d
                     JOIN pg_roles r ON r.rolname = 'bf_tenant_' || $1 || '_' || d.oid
                    WHERE d.datname = current_database() AND pg_has_role(r.oid, 'USAGE'))
$function$;

-- section: grants

REVOKE ALL ON FUNCTION {{shared}}.is_own_tenant(text) FROM PUBLIC;

SELECT bf_control.use_tenant_roles({{tenant_roles}});
