-- What PUT refuses of an integration for its form, SQL cannot store either. Where an address leads is not asked here:
-- that depends on the service's settings, and is looked at whenever it is used. Only adds: what the release before
-- writes passes.

-- What is wrong with a URL as an endpoint, NULL where nothing is. As app/integrations/endpoint.py has it.
CREATE FUNCTION bf_control.wrong_endpoint(url text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    part text[] := regexp_match(url COLLATE "C", '^[Hh][Tt][Tt][Pp][Ss]?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?(?:/[A-Za-z0-9._~!$&''()*+,;=:@%/-]*)?(?:\?([A-Za-z0-9._~!$&''()*+,;=:@%/?-]*))?$');
    host text := lower(part[1] COLLATE "C");
BEGIN
    IF part IS NULL OR length(url) > 2048 THEN
        RETURN 'must be a URL such as https://auth.example.com/v1';
    ELSIF part[2]::integer NOT BETWEEN 1 AND 65535 THEN
        RETURN 'must have a port from 1 to 65535';
    ELSIF bf_control.wrong_host(host) THEN
        RETURN 'must have a valid host name, or address';
    ELSIF bf_control.holds_credentials(to_jsonb(url)) OR bf_control.names_credential(part[3]) THEN
        RETURN 'must not hold credentials';
    END IF;
    RETURN NULL;
END
$function$;

-- Of a host in lower case. One that ends in a number is an address, to getaddrinfo() as well: it must be a plain one.
CREATE FUNCTION bf_control.wrong_host(host text) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    IF host COLLATE "C" ~ '^\[' THEN
        RETURN family(btrim(host, '[]')::inet) <> 6;
    ELSIF host COLLATE "C" ~ '(^|\.)([0-9]+|0x[0-9a-f]*)$' THEN
        RETURN host COLLATE "C" !~ '^((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(\.(?!$)|$)){4}$';
    END IF;
    RETURN length(host) > 253 OR host COLLATE "C" !~ '^([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.(?!$)|$))+$';
EXCEPTION WHEN invalid_text_representation THEN
    RETURN true;
END
$function$;

-- Whether a parameter of a query has a name that bf_control.holds_credentials() refuses, however it is written.
CREATE FUNCTION bf_control.names_credential(query text) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT coalesce(bool_or(bf_control.holds_credentials(jsonb_build_object(written.name, NULL))), false)
      FROM regexp_split_to_table(query, '&') AS parameter
     CROSS JOIN LATERAL (
        SELECT coalesce(string_agg(CASE WHEN piece[1] ~ '^%[2-7]'
                                        THEN chr(get_byte(decode(substr(piece[1], 2), 'hex'), 0))
                                        ELSE piece[1] END, '' ORDER BY place), '')
          FROM regexp_matches(split_part(parameter, '=', 1), '(%[0-9A-Fa-f]{2}|.)', 'g') WITH ORDINALITY AS p(piece, place)
        ) AS written(name)
$function$;

-- What is wrong with one capability's settings, NULL where nothing is. As app/integrations/schemas.py has them.
CREATE FUNCTION bf_control.wrong_integration(capability text, settings jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    members CONSTANT jsonb := '{"auth_rbac": ["enabled", "endpoint", "realm"],
                                "audit_compliance": ["enabled", "endpoint", "level"],
                                "ai_orchestration": ["enabled", "endpoint", "models"],
                                "document_management": ["enabled", "endpoint"],
                                "notification_engine": ["enabled", "endpoint"]}';
    member record;
    wrong text;
BEGIN
    IF NOT members ? capability THEN
        RETURN ': is no capability; there are '
            || (SELECT string_agg(name, ', ' ORDER BY name) FROM jsonb_object_keys(members) AS name);
    ELSIF jsonb_typeof(settings) <> 'object' THEN
        RETURN ': must be an object';
    END IF;
    FOR member IN SELECT s.key, s.value FROM jsonb_each(settings) AS s ORDER BY s.key LOOP
        wrong := CASE WHEN NOT members -> capability ? member.key THEN 'is not allowed here'
                      ELSE bf_control.wrong_integration_member(member.key, member.value) END;
        IF wrong IS NOT NULL THEN
            RETURN format('/%s: %s', member.key, wrong);
        END IF;
    END LOOP;
    RETURN NULL;
END
$function$;

CREATE FUNCTION bf_control.wrong_integration_member(name text, value jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    plain text := value #>> '{}';
BEGIN
    IF name = 'enabled' THEN
        RETURN CASE WHEN jsonb_typeof(value) <> 'boolean' THEN 'must be true or false' END;
    ELSIF jsonb_typeof(value) = 'null' THEN
        RETURN NULL;
    ELSIF name = 'models' THEN
        RETURN bf_control.wrong_models(value);
    ELSIF jsonb_typeof(value) <> 'string' THEN
        RETURN 'must be text';
    ELSIF name = 'endpoint' THEN
        RETURN bf_control.wrong_endpoint(plain);
    ELSIF name = 'level' THEN
        RETURN CASE WHEN plain COLLATE "C" !~ '^[a-z][a-z0-9_]{0,19}$' THEN 'must be a word such as detailed' END;
    ELSIF bf_control.holds_credentials(value) THEN
        RETURN 'must not hold credentials';
    ELSIF length(plain) NOT BETWEEN 1 AND 255 OR plain COLLATE "C" ~ '[\x01-\x1f\x7f]' THEN
        RETURN 'must be 1 to 255 characters, none of them a control character';
    END IF;
    RETURN NULL;
END
$function$;

CREATE FUNCTION bf_control.wrong_models(models jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    IF jsonb_typeof(models) <> 'array' OR jsonb_array_length(models) > 100 THEN
        RETURN 'must be a list of at most 100';
    ELSIF EXISTS (SELECT FROM jsonb_array_elements(models) AS m(model)
                   WHERE jsonb_typeof(m.model) <> 'string'
                      OR (m.model #>> '{}') COLLATE "C" !~ '^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$') THEN
        RETURN 'must be names of models';
    ELSIF jsonb_array_length(models) <> (SELECT count(DISTINCT m.model) FROM jsonb_array_elements(models) AS m(model)) THEN
        RETURN 'must not name a model twice';
    END IF;
    RETURN NULL;
END
$function$;

-- Whether a backup of the tenant is just being written back: it comes as it was, whatever would be refused today.
CREATE FUNCTION bf_control.is_being_restored(wanted text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT EXISTS (SELECT FROM bf_control.tenant t JOIN bf_control.operation o ON o.id = t.last_operation_id
                    WHERE t.tenant_id = wanted AND o.kind = 'tenant.restore' AND o.status = 'running')
$function$;

-- BEFORE INSERT, or UPDATE OF apg_integrations, of tenant_config: what is new, or other than it was. The rest may be of
-- before this was checked: it is shown as not valid, and hinders nobody.
CREATE FUNCTION bf_control.tenant_integrations_check() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    before jsonb := CASE TG_OP WHEN 'UPDATE' THEN OLD.apg_integrations ELSE '{}' END;
    wrong text;
BEGIN
    IF jsonb_typeof(NEW.apg_integrations) <> 'object' OR NEW.apg_integrations = before
       OR (TG_OP = 'INSERT' AND bf_control.is_being_restored(NEW.tenant_id)) THEN
        RETURN NEW;
    END IF;
    SELECT '/' || n.key || w.wrong INTO wrong
      FROM jsonb_each(NEW.apg_integrations) AS n
     CROSS JOIN LATERAL bf_control.wrong_integration(n.key, n.value) AS w(wrong)
     WHERE w.wrong IS NOT NULL AND n.value IS DISTINCT FROM before -> n.key
     ORDER BY n.key LIMIT 1;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'apg_integrations %', wrong
            USING ERRCODE = 'check_violation', HINT = 'What each integration may have is in docs/integrations.md.';
    END IF;
    RETURN NEW;
END
$function$;

REVOKE ALL ON FUNCTION
    bf_control.wrong_endpoint(text), bf_control.wrong_host(text), bf_control.names_credential(text),
    bf_control.wrong_integration(text, jsonb), bf_control.wrong_integration_member(text, jsonb),
    bf_control.wrong_models(jsonb), bf_control.is_being_restored(text), bf_control.tenant_integrations_check()
    FROM PUBLIC;
