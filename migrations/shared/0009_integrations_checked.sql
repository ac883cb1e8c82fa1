-- section: tables

CREATE TRIGGER tenant_integrations_check BEFORE INSERT OR UPDATE OF apg_integrations ON {{shared}}.tenant_config
    FOR EACH ROW EXECUTE FUNCTION bf_control.tenant_integrations_check();
