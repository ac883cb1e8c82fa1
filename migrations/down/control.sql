DROP TABLE IF EXISTS bf_queue.pgqueuer, bf_queue.pgqueuer_log, bf_queue.pgqueuer_schedules,
    bf_queue.pgqueuer_statistics;

DROP FUNCTION IF EXISTS bf_queue.fn_pgqueuer_changed();

DROP TYPE IF EXISTS bf_queue.pgqueuer_status;

DROP SCHEMA IF EXISTS bf_queue;

DROP FUNCTION IF EXISTS
    bf_control.check_release(jsonb, jsonb), bf_control.migration_pending(text, integer, text, text),
    bf_control.ensure_role(text, text, boolean, text), bf_control.grant_role_to_owner(text),
    bf_control.apply_statements(text, text, integer, integer, text),
    bf_control.render_statement(text, text, text, text, text), bf_control.setting_of(text),
    bf_control.holds_credentials(jsonb), bf_control.is_currency(text), bf_control.is_time_zone(text),
    bf_control.lock_built_tenant(text), bf_control.touch_row(), bf_control.tenant_config_check(),
    bf_control.tenant_config_record(), bf_control.tenant_settings(text), bf_control.change_tenant(text, jsonb),
    bf_control.lock_tenant_config(text);

DROP FUNCTION IF EXISTS
    bf_control.inherited_limit(text, text),
    bf_control.usage_noted(text, text, integer, bigint, bigint), bf_control.usage_judge(text, text, bigint, bigint),
    bf_control.usage_count(), bf_control.usage_change(), bf_control.usage_clear(),
    bf_control.usage_begin(text, regclass, text), bf_control.tenant_limits_check(),
    bf_control.wrong_limits(jsonb, boolean, jsonb), bf_control.tenant_limits_record(),
    bf_control.keep_limits(text, jsonb), bf_control.change_limits(text, jsonb), bf_control.hand_down_limit(text);

DROP FUNCTION IF EXISTS
    bf_control.tenant_config_active(), bf_control.move_tenant(text, text[], text, text, text, interval),
    bf_control.move_tenant_by_hand(text, text, text[], text, text, interval);

DROP FUNCTION IF EXISTS
    bf_control.tenant_integrations_check(), bf_control.wrong_integration(text, jsonb),
    bf_control.wrong_integration_member(text, jsonb), bf_control.wrong_models(jsonb), bf_control.wrong_endpoint(text),
    bf_control.wrong_host(text), bf_control.names_credential(text), bf_control.is_being_restored(text);

DROP FUNCTION IF EXISTS
    bf_control.merge_patch(jsonb, jsonb), bf_control.change_config(text, jsonb), bf_control.presentable(text, jsonb);

DROP FUNCTION IF EXISTS
    bf_control.included_features(text), bf_control.effective_features(text, text), bf_control.feature_names(jsonb),
    bf_control.with_features(jsonb, text[]), bf_control.override_features(text, text, text[], text[]),
    bf_control.tenant_config_features(), bf_control.keep_features(), bf_control.set_feature(text, text, boolean),
    bf_control.tenant_features(text);

DROP TABLE IF EXISTS bf_control.integration_secret;

DROP FUNCTION IF EXISTS bf_control.set_integration(text, text, jsonb), bf_control.forget_integration_secrets();

DROP FUNCTION IF EXISTS
    bf_control.tables_of_tenants(), bf_control.tenant_records(text), bf_control.forget_tenant(text),
    bf_control.insert_records(regclass, jsonb), bf_control.restore_tenant_records(text, jsonb, integer, uuid);

DROP TABLE IF EXISTS bf_control.webhook_delivery, bf_control.webhook_secret;

DROP FUNCTION IF EXISTS bf_control.queue_event(bf_control.event);

DROP TABLE IF EXISTS bf_control.webhook, bf_control.event;

DROP TABLE IF EXISTS bf_control.worker, bf_control.limit_excess, bf_control.limit_round;

DROP TABLE IF EXISTS bf_control.isolation_check;

DROP FUNCTION IF EXISTS
    bf_control.use_tenant_roles(boolean), bf_control.keep_tenant_role(text), bf_control.ensure_tenant_role(text),
    bf_control.make_role(text, text), bf_control.drop_role(text), bf_control.has_tenant_roles(),
    bf_control.tenants_role(), bf_control.tenant_role(text);

DROP TABLE IF EXISTS bf_control.page_session;

DROP TABLE IF EXISTS
    bf_control.collection_lease, bf_control.collection, bf_control.schema_snapshot, bf_control.table_snapshot,
    bf_control.index_snapshot, bf_control.size_history, bf_control.fleet_snapshot, bf_control.connection_snapshot,
    bf_control.statement_snapshot;

DROP FUNCTION IF EXISTS bf_control.statement_statistics_state(), bf_control.statement_statistics(integer);

DROP TABLE IF EXISTS bf_control.operation_end, bf_control.operation_total;

DROP FUNCTION IF EXISTS bf_control.operation_bucket(double precision);

DROP TABLE IF EXISTS bf_control.audit_seal, bf_control.audit_segment, bf_control.audit_chain;

DROP TABLE IF EXISTS bf_control.migration, bf_control.setting, bf_control.tenant, bf_control.tenant_statement,
    bf_control.currency, bf_control.tenant_document, bf_control.tenant_config_history, bf_control.operation,
    bf_control.idempotency_key, bf_control.audit, bf_control.api_key, bf_control.operation_event,
    bf_control.confirmation, bf_control.usage_limit_tier, bf_control.usage_limit, bf_control.tenant_limit,
    bf_control.usage_counter, bf_control.usage_delta, bf_control.usage_event, bf_control.tier,
    bf_control.listed_feature, bf_control.feature, bf_control.tenant_feature,
    bf_control.tenant_tombstone, bf_control.backup, bf_control.change_target, bf_control.verification,
    bf_control.plan;

-- Those of triggers and indexes of the tables above.
DROP FUNCTION IF EXISTS bf_control.operation_notify(), bf_control.operation_record(),
    bf_control.operation_count(), bf_control.usage_settle(), bf_control.is_tenant_id(text);

DROP FUNCTION IF EXISTS bf_control.tenant_next_generation(), bf_control.tenant_role_follow();

DROP FUNCTION IF EXISTS bf_control.api_key_notify();

DROP FUNCTION IF EXISTS
    bf_control.record_event(text, text, text, jsonb), bf_control.keep_integration_webhooks(text, jsonb),
    bf_control.tenant_event(), bf_control.tenant_config_event(), bf_control.usage_event_event(),
    bf_control.operation_ended_event();

DROP FUNCTION IF EXISTS
    bf_control.audit_refuse(), bf_control.audit_refuse_delete(), bf_control.audit_drop(interval, integer),
    bf_control.audit_config_by_hand();

DROP FUNCTION IF EXISTS
    bf_control.list_features(), bf_control.trigrams(text), bf_control.tenant_config_history_number();

DROP FUNCTION IF EXISTS bf_control.catalogue_lock(), bf_control.catalogue_settle(), bf_control.feature_notify();

DROP SCHEMA IF EXISTS bf_control;
