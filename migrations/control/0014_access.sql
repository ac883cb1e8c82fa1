-- What is known of API keys beside who they are: when one was last used, and which one it took the place of.

ALTER TABLE bf_control.api_key
    ADD COLUMN last_used_at timestamptz,
    ADD COLUMN replaces text COLLATE "C";

COMMENT ON COLUMN bf_control.api_key.last_used_at IS 'Some half a minute late: processes collect it, and write it together';
COMMENT ON COLUMN bf_control.api_key.replaces IS 'The key that was rotated into this one';

-- Processes that keep keys listen on this channel; the payload is the key's id. Its use changes nothing of what a key
-- may do, and is told to nobody.
CREATE FUNCTION bf_control.api_key_notify() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    PERFORM pg_notify('bf_api_key', OLD.id);
    RETURN NULL;
END
$function$;

CREATE TRIGGER api_key_changed AFTER UPDATE ON bf_control.api_key
    FOR EACH ROW WHEN (NEW.id <> OLD.id OR NEW.role <> OLD.role OR NEW.secret_hash <> OLD.secret_hash
                       OR NEW.name <> OLD.name
                       OR NEW.tenant_id IS DISTINCT FROM OLD.tenant_id
                       OR NEW.expires_at IS DISTINCT FROM OLD.expires_at
                       OR NEW.revoked_at IS DISTINCT FROM OLD.revoked_at)
    EXECUTE FUNCTION bf_control.api_key_notify();

CREATE TRIGGER api_key_gone AFTER DELETE ON bf_control.api_key
    FOR EACH ROW EXECUTE FUNCTION bf_control.api_key_notify();

REVOKE ALL ON FUNCTION bf_control.api_key_notify() FROM PUBLIC;
