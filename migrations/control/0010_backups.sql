-- Backups of tenants, what is left of purged ones, and what of a tenant is kept outside its schema. Only adds.

CREATE TABLE bf_control.backup (
    id uuid NOT NULL CONSTRAINT backup_pkey PRIMARY KEY,
    tenant_id varchar(36) COLLATE "C" NOT NULL,
    generation bigint NOT NULL,
    schema_name text COLLATE "C" NOT NULL,
    schema_version integer NOT NULL,
    server_version integer NOT NULL,
    client_version integer NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    reason varchar(500),
    url text NOT NULL,
    sha256 text NOT NULL CONSTRAINT backup_sha256_check CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    bytes bigint NOT NULL,
    tables jsonb NOT NULL,
    records jsonb NOT NULL
);

COMMENT ON TABLE bf_control.backup IS 'Verified archives; the id is that of the operation that made it';
COMMENT ON COLUMN bf_control.backup.tables IS 'By name: rows, and the sum of their hashes';
COMMENT ON COLUMN bf_control.backup.records IS 'What of the tenant is kept outside its schema: see tenant_records()';

CREATE INDEX backup_tenant_idx ON bf_control.backup (tenant_id, created_at, id);

CREATE TABLE bf_control.tenant_tombstone (
    id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT tenant_tombstone_pkey PRIMARY KEY,
    tenant_id varchar(36) COLLATE "C" NOT NULL,
    generation bigint NOT NULL,
    tenant_name varchar(255) NOT NULL,
    schema_name text COLLATE "C" NOT NULL,
    backup_id uuid CONSTRAINT tenant_tombstone_backup_fkey REFERENCES bf_control.backup (id),
    purged_at timestamptz NOT NULL DEFAULT now(),
    purged_by text NOT NULL,
    reason varchar(500)
);

COMMENT ON COLUMN bf_control.tenant_tombstone.backup_id IS 'NULL where the backup was waived';

CREATE INDEX tenant_tombstone_tenant_idx ON bf_control.tenant_tombstone (tenant_id, id);
CREATE INDEX tenant_tombstone_backup_idx ON bf_control.tenant_tombstone (backup_id);

-- BEFORE INSERT of a tenant, whoever makes it: another one than those that had its id.
CREATE FUNCTION bf_control.tenant_next_generation() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    SELECT greatest(NEW.generation, max(s.generation) + 1) INTO NEW.generation
      FROM bf_control.tenant_tombstone s WHERE s.tenant_id = NEW.tenant_id;
    RETURN NEW;
END
$function$;

CREATE TRIGGER tenant_next_generation BEFORE INSERT ON bf_control.tenant
    FOR EACH ROW EXECUTE FUNCTION bf_control.tenant_next_generation();

-- Tables of bf_control with rows of tenants, found by their column. Those called tenant_… are a part of the tenant,
-- and kept in its backups; of the others (counters, secrets) a backup has nothing. Operations, API keys, backups and
-- tombstones outlive a tenant.
CREATE FUNCTION bf_control.tables_of_tenants() RETURNS TABLE (table_name name, is_part boolean)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT c.relname, c.relname LIKE 'tenant\_%'
      FROM pg_depend d
      JOIN pg_class c ON c.oid = d.objid AND c.relkind IN ('r', 'p') AND NOT c.relispartition
      JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
     WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = 'bf_control'::regnamespace
       AND d.classid = 'pg_class'::regclass
       AND c.relname NOT IN ('tenant', 'tenant_tombstone', 'operation', 'api_key', 'backup')
     ORDER BY c.relname
$function$;

-- What of a tenant is kept outside its schema: its rows of the registry, of tenant_config and of the tables above,
-- the templates it owns, and the ids of those that are shared with it.
CREATE FUNCTION bf_control.tenant_records(wanted text) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    shared_schema text := bf_control.setting_of('shared_schema');
    found jsonb;
    records jsonb := '{}';
    part name;
BEGIN
    FOR part IN SELECT t.table_name FROM bf_control.tables_of_tenants() t WHERE t.is_part LOOP
        EXECUTE format($$SELECT jsonb_agg(to_jsonb(r) ORDER BY to_jsonb(r) -> 'id') FROM bf_control.%I r
                          WHERE r.tenant_id = $1$$, part) INTO found USING wanted;
        records := records || jsonb_build_object(part, coalesce(found, '[]'));
    END LOOP;
    EXECUTE format($$
        SELECT jsonb_build_object(
                   'tenant', to_jsonb(t), 'tenant_config', to_jsonb(c), 'tables', $2,
                   'budget_templates', (SELECT coalesce(jsonb_agg(to_jsonb(b)), '[]') FROM %1$I.budget_templates b
                                         WHERE b.owner_tenant_id = $1),
                   'shared_templates', (SELECT coalesce(jsonb_agg(b.template_id), '[]') FROM %1$I.budget_templates b
                                         WHERE b.owner_tenant_id <> $1 AND $1 = ANY (b.shared_with_tenants)))
          FROM bf_control.tenant t JOIN %1$I.tenant_config c ON c.tenant_id = t.tenant_id
         WHERE t.tenant_id = $1$$, shared_schema) INTO found USING wanted, records;
    RETURN found;
END
$function$;

-- The registry and all else that is of a tenant outside its schema, without a trace but what outlives it. Its keys
-- end with it, and what it had does not become the next one's of that id.
CREATE FUNCTION bf_control.forget_tenant(wanted text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    shared_schema text := bf_control.setting_of('shared_schema');
    part name;
BEGIN
    EXECUTE format('DELETE FROM %I.tenant_config WHERE tenant_id = $1', shared_schema) USING wanted;
    EXECUTE format('DELETE FROM %I.budget_templates WHERE owner_tenant_id = $1', shared_schema) USING wanted;
    EXECUTE format('UPDATE %I.budget_templates SET shared_with_tenants = array_remove(shared_with_tenants, $1)
                     WHERE $1 = ANY (shared_with_tenants)', shared_schema) USING wanted::varchar;
    FOR part IN SELECT t.table_name FROM bf_control.tables_of_tenants() t LOOP
        EXECUTE format('DELETE FROM bf_control.%I WHERE tenant_id = $1', part) USING wanted;
    END LOOP;
    UPDATE bf_control.api_key k SET revoked_at = now() WHERE k.tenant_id = wanted AND k.revoked_at IS NULL;
    DELETE FROM bf_control.tenant t WHERE t.tenant_id = wanted;
END
$function$;

-- Inserts rows that are kept as JSON: the columns that both they and the table have, but for identities.
CREATE FUNCTION bf_control.insert_records(into_table regclass, records jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    columns text;
BEGIN
    SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) INTO columns
      FROM pg_attribute a
     WHERE a.attrelid = into_table AND a.attnum > 0 AND NOT a.attisdropped AND a.attidentity = ''
       AND a.attgenerated = '' AND records -> 0 ? a.attname;
    IF columns IS NOT NULL THEN
        EXECUTE format('INSERT INTO %1$s (%2$s) SELECT %2$s FROM jsonb_populate_recordset(NULL::%1$s, $1)
                            ON CONFLICT DO NOTHING', into_table, columns) USING records;
    END IF;
END
$function$;

-- tenant_records() of a tenant whose schema is back, written back under the registry row that restores it. It is
-- again what it was before it was deleted. Triggers make of a new row of tenant_config what they make of a new
-- tenant's: what it had is put in their place, its history too, which goes on with the restore. Versions of documents
-- go on from where they were, so that no entity tag of before is valid again.
CREATE FUNCTION bf_control.restore_tenant_records(wanted text, records jsonb, version integer, operation uuid)
RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    shared_schema text := bf_control.setting_of('shared_schema');
    app_role text := bf_control.setting_of('app_role');
    config jsonb := records -> 'tenant_config' || '{"is_active": false}';
    history jsonb := records #> '{tables,tenant_config_history}';
    before bf_control.tenant := jsonb_populate_record(NULL::bf_control.tenant, records -> 'tenant');
    reached text := coalesce(before.deleted_from, before.state);
    part name;
BEGIN
    UPDATE bf_control.tenant t
       SET state = 'suspended', schema_version = restore_tenant_records.version, generation = before.generation,
           tenant_name = before.tenant_name, subscription_tier = before.subscription_tier,
           billing_contact = before.billing_contact, features = before.features, created_by = before.created_by,
           created_at = before.created_at, request = before.request, initial_config = before.initial_config,
           updated_at = now()
     WHERE t.tenant_id = wanted AND t.state = 'provisioning' AND t.last_operation_id = operation;
    IF NOT FOUND OR reached NOT IN ('active', 'suspended') THEN
        RAISE EXCEPTION 'tenant % is not being restored by this operation', quote_nullable(wanted)
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    PERFORM bf_control.insert_records(format('%I.tenant_config', shared_schema)::regclass, jsonb_build_array(config)),
            bf_control.change_config(wanted, config);
    FOR part IN SELECT t.table_name FROM bf_control.tables_of_tenants() t
                 WHERE t.is_part AND t.table_name <> 'tenant_document' AND records -> 'tables' ? t.table_name::text
    LOOP
        EXECUTE format('DELETE FROM bf_control.%I WHERE tenant_id = $1', part) USING wanted;
        PERFORM bf_control.insert_records(format('bf_control.%I', part)::regclass, records -> 'tables' -> part::text);
    END LOOP;
    UPDATE bf_control.tenant_config_history h
       SET version = r.version, reason = r.reason, restored_version = r.restored_version
      FROM (SELECT i.id, row_number() OVER (ORDER BY i.id) AS place
              FROM bf_control.tenant_config_history i WHERE i.tenant_id = wanted) AS o
      JOIN (SELECT e.place, (e.entry ->> 'version')::bigint AS version, e.entry ->> 'reason' AS reason,
                   (e.entry ->> 'restored_version')::bigint AS restored_version
              FROM jsonb_array_elements(history) WITH ORDINALITY AS e(entry, place)) AS r ON r.place = o.place
     WHERE h.id = o.id;
    UPDATE bf_control.tenant_document d SET version = greatest(d.version, r.version) + 1
      FROM jsonb_to_recordset(records #> '{tables,tenant_document}') AS r(document text, version bigint)
     WHERE d.tenant_id = wanted AND d.document = r.document;
    PERFORM bf_control.insert_records(
        format('%I.budget_templates', shared_schema)::regclass, records -> 'budget_templates');
    EXECUTE format('UPDATE %I.budget_templates SET shared_with_tenants = shared_with_tenants || $1::varchar
                     WHERE $2 ? template_id AND $1 <> ALL (shared_with_tenants)', shared_schema)
      USING wanted, records -> 'shared_templates';
    EXECUTE format('REVOKE USAGE ON SCHEMA %I FROM %I', before.schema_name, app_role);
    IF reached = 'active' THEN
        UPDATE bf_control.tenant t SET state = reached WHERE t.tenant_id = wanted;
        EXECUTE format('UPDATE %I.tenant_config SET is_active = true WHERE tenant_id = $1', shared_schema) USING wanted;
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', before.schema_name, app_role);
    END IF;
END
$function$;

REVOKE ALL ON FUNCTION bf_control.tenant_next_generation(), bf_control.tables_of_tenants(),
    bf_control.tenant_records(text), bf_control.forget_tenant(text), bf_control.insert_records(regclass, jsonb),
    bf_control.restore_tenant_records(text, jsonb, integer, uuid) FROM PUBLIC;
