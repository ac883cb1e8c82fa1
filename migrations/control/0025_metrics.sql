-- What becomes of operations, added up for good, so that a counter of them never goes back: neither when a process starts
-- anew nor when old operations are forgotten. Only adds: what workers of the release before end is counted too.

-- A row each, which no other end has to wait for; whoever adds them up takes them away.
CREATE TABLE bf_control.operation_end (
    id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT operation_end_pkey PRIMARY KEY,
    kind text COLLATE "C" NOT NULL,
    outcome text COLLATE "C" NOT NULL,
    seconds double precision NOT NULL
);

COMMENT ON TABLE bf_control.operation_end IS 'Ended operations that operation_total does not have yet';

CREATE TABLE bf_control.operation_total (
    kind text COLLATE "C" NOT NULL,
    outcome text COLLATE "C" NOT NULL,
    le double precision NOT NULL,
    operations bigint NOT NULL,
    seconds double precision NOT NULL,
    CONSTRAINT operation_total_pkey PRIMARY KEY (kind, outcome, le)
);

COMMENT ON TABLE bf_control.operation_total IS 'How many operations ended how, and what they took, since the database was made';
COMMENT ON COLUMN bf_control.operation_total.le IS 'The bound of the bucket, which it includes; each operation is in one bucket';

-- app.metrics.model has the same bounds.
CREATE FUNCTION bf_control.operation_bucket(seconds double precision) RETURNS double precision
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT min(b.le)
      FROM unnest(ARRAY[0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 'Infinity']::double precision[]) AS b(le)
     WHERE b.le >= operation_bucket.seconds
$function$;

-- What was cancelled before it began took no time.
CREATE FUNCTION bf_control.operation_count() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    INSERT INTO bf_control.operation_end (kind, outcome, seconds)
    VALUES (NEW.kind, NEW.status,
            greatest(coalesce(extract(epoch FROM NEW.finished_at - NEW.started_at)::double precision, 0), 0));
    RETURN NULL;
END
$function$;

CREATE TRIGGER operation_counted AFTER UPDATE OF status ON bf_control.operation
    FOR EACH ROW WHEN (NEW.finished_at IS NOT NULL AND OLD.finished_at IS NULL)
    EXECUTE FUNCTION bf_control.operation_count();

-- Few are: to count them, nobody should read all that were delivered.
CREATE INDEX webhook_delivery_dead_idx ON bf_control.webhook_delivery (webhook_id) WHERE status = 'dead';

REVOKE ALL ON FUNCTION bf_control.operation_bucket(double precision), bf_control.operation_count() FROM PUBLIC;
