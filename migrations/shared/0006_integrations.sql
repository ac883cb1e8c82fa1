-- section: tables

CREATE TRIGGER tenant_config_integrations AFTER UPDATE OF apg_integrations OR DELETE ON {{shared}}.tenant_config
    FOR EACH ROW EXECUTE FUNCTION bf_control.forget_integration_secrets();
