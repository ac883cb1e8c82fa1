-- Suspending, deleting and bringing back a tenant. Only adds: processes of the release before go on beside it.

ALTER TABLE bf_control.tenant
    ADD COLUMN state_reason varchar(500),
    ADD COLUMN state_changed_at timestamptz,
    ADD COLUMN state_changed_by text,
    ADD COLUMN deleted_from text CONSTRAINT tenant_deleted_from_check CHECK (deleted_from IN ('active', 'suspended')),
    ADD COLUMN purge_time timestamptz;

COMMENT ON COLUMN bf_control.tenant.deleted_from IS 'The state that a restore brings back';
COMMENT ON COLUMN bf_control.tenant.purge_time IS 'Until then a deleted tenant is kept';

CREATE INDEX tenant_purge_time_idx ON bf_control.tenant (purge_time) WHERE state = 'deleted';

-- Moves a tenant that has a schema to another state, and takes or gives the application role its way in: sessions
-- that are connected meet it with their next statement. To no state: to the one it was deleted from. Returns the
-- state it left. Locks tenant_config first, as a direct UPDATE of that does.
CREATE FUNCTION bf_control.move_tenant(
    wanted text, from_states text[], to_state text, reason text, moved_by text, grace interval DEFAULT NULL
) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    app_role text := bf_control.setting_of('app_role');
    registered bf_control.tenant;
    reached text;
BEGIN
    PERFORM bf_control.lock_tenant_config(wanted);
    SELECT t.* INTO registered FROM bf_control.tenant t WHERE t.tenant_id = wanted FOR NO KEY UPDATE;
    IF registered.tenant_id IS NULL THEN
        RAISE EXCEPTION 'there is no tenant %', quote_nullable(wanted) USING ERRCODE = 'no_data_found';
    END IF;
    IF registered.state <> ALL (from_states) THEN
        RAISE EXCEPTION 'tenant % is %, which does not allow this', wanted, registered.state
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = format('It must be %s.', array_to_string(from_states, ' or '));
    END IF;
    reached := coalesce(to_state, registered.deleted_from, 'active');
    UPDATE bf_control.tenant t
       SET state = reached, state_reason = move_tenant.reason, state_changed_at = now(),
           state_changed_by = move_tenant.moved_by, error = NULL, updated_at = now(),
           deleted_from = CASE WHEN reached <> 'deleted' AND reached <> 'purging' THEN NULL
                               WHEN t.state IN ('active', 'suspended') THEN t.state
                               ELSE t.deleted_from END,
           purge_time = CASE WHEN reached <> 'deleted' AND reached <> 'purging' THEN NULL
                             WHEN t.state IN ('active', 'suspended') THEN now() + move_tenant.grace
                             ELSE t.purge_time END
     WHERE t.tenant_id = wanted AND t.state = registered.state;
    IF (registered.state = 'active') = (reached = 'active') THEN
        RETURN registered.state;
    END IF;
    EXECUTE format('UPDATE %I.tenant_config SET is_active = $2 WHERE tenant_id = $1',
                   bf_control.setting_of('shared_schema')) USING wanted, reached = 'active';
    IF reached = 'active' THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', registered.schema_name, app_role);
    ELSE
        EXECUTE format('REVOKE USAGE ON SCHEMA %I FROM %I', registered.schema_name, app_role);
    END IF;
    RETURN registered.state;
END
$function$;

-- The same for who works in SQL: the audit row names the user of the context, or else the database's.
CREATE FUNCTION bf_control.move_tenant_by_hand(
    wanted text, action text, from_states text[], to_state text, reason text, grace interval DEFAULT NULL
) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    moved_by text := coalesce(nullif(current_setting('app.current_user_id', true), ''),
                              nullif(current_setting('app.current_user', true), ''), session_user);
    before text;
BEGIN
    IF length(reason) > 500 OR bf_control.holds_credentials(to_jsonb(reason)) THEN
        RAISE EXCEPTION 'a reason has at most 500 characters, and no credentials' USING ERRCODE = 'check_violation';
    END IF;
    before := bf_control.move_tenant(wanted, from_states, to_state, reason, moved_by, grace);
    INSERT INTO bf_control.audit (actor, action, target, outcome, before, after)
    SELECT moved_by, action, 'tenant/' || t.tenant_id, 'succeeded', jsonb_build_object('state', before),
           jsonb_strip_nulls(jsonb_build_object('state', t.state, 'reason', t.state_reason, 'purge_time', t.purge_time))
      FROM bf_control.tenant t WHERE t.tenant_id = wanted;
END
$function$;

-- BEFORE UPDATE of is_active: says how it is done, before tenant_config_check() says that it is not done so.
CREATE FUNCTION bf_control.tenant_config_active() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    registered text := (SELECT t.state FROM bf_control.tenant t WHERE t.tenant_id = NEW.tenant_id);
BEGIN
    IF NEW.is_active <> (registered = 'active') THEN
        RAISE EXCEPTION 'is_active of tenant % follows its state, which is %', NEW.tenant_id, registered
            USING ERRCODE = 'check_violation',
                  HINT = format('SELECT %I.%I(%L);', TG_TABLE_SCHEMA,
                                CASE WHEN NOT NEW.is_active THEN 'suspend_tenant'
                                     WHEN registered = 'deleted' THEN 'restore_tenant'
                                     ELSE 'resume_tenant' END, NEW.tenant_id);
    END IF;
    RETURN NEW;
END
$function$;

REVOKE ALL ON FUNCTION bf_control.move_tenant(text, text[], text, text, text, interval),
    bf_control.move_tenant_by_hand(text, text, text[], text, text, interval),
    bf_control.tenant_config_active() FROM PUBLIC;
