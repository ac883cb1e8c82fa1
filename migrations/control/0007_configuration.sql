-- Configuration that is changed as a whole: versions of tenant_config, who made them and why, and the way back. Only
-- adds: processes of the release before go on beside it.

ALTER TABLE bf_control.tenant_config_history
    ADD COLUMN version bigint,
    ADD COLUMN reason text,
    ADD COLUMN restored_version bigint;

COMMENT ON COLUMN bf_control.tenant_config_history.version IS
    'Counts from 1, which is the making of the tenant: a tenant that has the id of an earlier one begins again';
COMMENT ON COLUMN bf_control.tenant_config_history.reason IS 'What the session said of it: SET LOCAL bf.reason';
COMMENT ON COLUMN bf_control.tenant_config_history.restored_version IS 'The version that a rollback went back to';

UPDATE bf_control.tenant_config_history h
   SET version = numbered.version
  FROM (SELECT g.id, row_number() OVER (PARTITION BY g.tenant_id, g.generation ORDER BY g.id) AS version
          FROM (SELECT i.id, i.tenant_id,
                       count(*) FILTER (WHERE i.before IS NULL) OVER (PARTITION BY i.tenant_id ORDER BY i.id) AS generation
                  FROM bf_control.tenant_config_history i) AS g) AS numbered
 WHERE numbered.id = h.id;

ALTER TABLE bf_control.tenant_config_history ALTER COLUMN version SET NOT NULL;

-- Where the history of today's tenant begins.
CREATE INDEX tenant_config_history_making_idx ON bf_control.tenant_config_history (tenant_id, id) WHERE before IS NULL;

-- A trigger of the table itself: a session that has waited for this migration still runs tenant_config_record() as it
-- was. The row of tenant_config is locked, so versions have no gaps.
CREATE FUNCTION bf_control.tenant_config_history_number() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    restored text := current_setting('bf.restored_version', true);
BEGIN
    NEW.version := 1;
    IF NEW.before IS NOT NULL THEN
        SELECT h.version + 1 INTO NEW.version FROM bf_control.tenant_config_history h
         WHERE h.tenant_id = NEW.tenant_id ORDER BY h.id DESC LIMIT 1;
        NEW.version := coalesce(NEW.version, 1);
    END IF;
    NEW.reason := nullif(left(current_setting('bf.reason', true), 500), '');
    -- Any session may set it, to anything.
    NEW.restored_version := CASE WHEN restored ~ '^[0-9]{1,18}$' THEN restored::bigint END;
    RETURN NEW;
END
$function$;

CREATE TRIGGER tenant_config_history_number BEFORE INSERT ON bf_control.tenant_config_history
    FOR EACH ROW EXECUTE FUNCTION bf_control.tenant_config_history_number();

-- JSON Merge Patch (RFC 7396), in the database: numbers that no double holds stay as they are.
CREATE FUNCTION bf_control.merge_patch(target jsonb, patch jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    merged jsonb := CASE WHEN jsonb_typeof(target) = 'object' THEN target ELSE '{}' END;
    member record;
BEGIN
    IF jsonb_typeof(patch) <> 'object' THEN
        RETURN patch;
    END IF;
    FOR member IN SELECT e.key, e.value FROM jsonb_each(patch) AS e
    LOOP
        IF member.value = 'null' THEN
            merged := merged - member.key;
        ELSE
            merged := merged || jsonb_build_object(
                member.key, bf_control.merge_patch(merged -> member.key, member.value));
        END IF;
    END LOOP;
    RETURN merged;
END
$function$;

-- Sets columns of a tenant's tenant_config from an object of their values. Names that it has no column for, and columns
-- that follow the tenant's state, are passed over: a version of another release may have them. Returns whether anything
-- is different now.
CREATE FUNCTION bf_control.change_config(wanted text, changes jsonb) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    config CONSTANT regclass := format('%I.tenant_config', bf_control.setting_of('shared_schema'))::regclass;
    settable CONSTANT jsonb := changes - ARRAY['tenant_id', 'created_at', 'updated_at', 'is_active'];
    assignments text;
    touched bigint;
BEGIN
    SELECT string_agg(format('%1$I = v.%1$I', a.attname), ', ') INTO assignments
      FROM pg_attribute a
     WHERE a.attrelid = config AND a.attnum > 0 AND NOT a.attisdropped AND settable ? a.attname::text;
    IF assignments IS NULL THEN
        RETURN false;
    END IF;
    EXECUTE format($$
        UPDATE %1$s c SET %2$s
          FROM %1$s o CROSS JOIN LATERAL jsonb_populate_record(o, $2) AS v
         WHERE o.tenant_id = $1 AND c.tenant_id = o.tenant_id AND to_jsonb(v) <> to_jsonb(o)$$, config, assignments)
      USING wanted, settable;
    GET DIAGNOSTICS touched = ROW_COUNT;
    RETURN touched > 0;
END
$function$;

-- A column's value as history shows it: rules may have become stricter since it was stored.
CREATE FUNCTION bf_control.presentable(column_name text, value jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT CASE
               WHEN bf_control.holds_credentials(jsonb_build_object(column_name, value)) THEN '"(credentials)"'
               WHEN jsonb_path_exists(value, 'strict $.**{256 to last}') THEN '"(nested too deep)"'
               ELSE value
           END
$function$;

REVOKE ALL ON FUNCTION bf_control.tenant_config_history_number(), bf_control.merge_patch(jsonb, jsonb),
    bf_control.change_config(text, jsonb), bf_control.presentable(text, jsonb) FROM PUBLIC;
