-- Features follow from the catalogue and from what a tenant has of its own; see bf_control.tenant_config_features().
-- section: tables

CREATE TRIGGER tenant_config_features BEFORE INSERT OR UPDATE ON {{shared}}.tenant_config
    FOR EACH ROW EXECUTE FUNCTION bf_control.tenant_config_features();

SELECT bf_control.keep_features();
