-- Secrets of integrations, encrypted by the service; what may be seen of an integration is in tenant_config. Only adds:
-- processes of the release before go on beside it.

CREATE TABLE bf_control.integration_secret (
    tenant_id varchar(36) COLLATE "C" NOT NULL,
    capability text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    key_id text NOT NULL,
    ciphertext bytea NOT NULL,
    set_at timestamptz NOT NULL DEFAULT now(),
    set_by text NOT NULL,
    CONSTRAINT integration_secret_pkey PRIMARY KEY (tenant_id, capability, name),
    CONSTRAINT integration_secret_tenant_fkey FOREIGN KEY (tenant_id)
        REFERENCES bf_control.tenant (tenant_id) ON DELETE CASCADE,
    CONSTRAINT integration_secret_ciphertext_check CHECK (octet_length(ciphertext) > 28)
);

COMMENT ON TABLE bf_control.integration_secret IS
    'AES-256-GCM, bound to tenant, capability and name; the keys are in BF_SECRET_KEYS and never in the database';
COMMENT ON COLUMN bf_control.integration_secret.ciphertext IS 'The nonce (12 bytes), the encrypted secret, the tag (16)';
COMMENT ON COLUMN bf_control.integration_secret.set_at IS 'Of the secret itself: another encryption leaves it as it is';

-- Sets one capability of apg_integrations, or takes it away where `settings` is NULL.
CREATE FUNCTION bf_control.set_integration(wanted text, capability text, settings jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    touched bigint;
BEGIN
    EXECUTE format($$
        UPDATE %I.tenant_config c
           SET apg_integrations = CASE WHEN $3 IS NULL THEN c.apg_integrations - $2
                                       ELSE c.apg_integrations || jsonb_build_object($2, $3) END
         WHERE c.tenant_id = $1$$, bf_control.setting_of('shared_schema'))
      USING wanted, capability, settings;
    GET DIAGNOSTICS touched = ROW_COUNT;
    IF touched <> 1 THEN
        RAISE EXCEPTION 'tenant % has no configuration', quote_nullable(wanted) USING ERRCODE = 'no_data_found';
    END IF;
END
$function$;

-- AFTER UPDATE OF apg_integrations, or DELETE, of tenant_config: secrets go with what they are the secrets of, whoever
-- takes it away.
CREATE FUNCTION bf_control.forget_integration_secrets() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    DELETE FROM bf_control.integration_secret s
     WHERE s.tenant_id = OLD.tenant_id
       AND (TG_OP = 'DELETE' OR NOT NEW.apg_integrations ? s.capability);
    RETURN NULL;
END
$function$;

REVOKE ALL ON FUNCTION bf_control.set_integration(text, text, jsonb), bf_control.forget_integration_secrets()
    FROM PUBLIC;
