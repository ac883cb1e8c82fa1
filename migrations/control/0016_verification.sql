-- What the last verification of a tenant's catalogue has found. Only adds: processes of the release before go on beside it.

-- Its name does not begin with tenant_: of a backup it is no part.
CREATE TABLE bf_control.verification (
    tenant_id varchar(36) COLLATE "C" NOT NULL CONSTRAINT verification_pkey PRIMARY KEY,
    schema_version integer NOT NULL,
    verified_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    fingerprint text NOT NULL CONSTRAINT verification_fingerprint_check CHECK (fingerprint ~ '^[0-9a-f]{64}$'),
    drift jsonb
);

COMMENT ON COLUMN bf_control.verification.fingerprint IS 'SHA-256 of the catalogue as it was found';
COMMENT ON COLUMN bf_control.verification.drift IS 'Names of what is missing, extra and altered; NULL: nothing is';

CREATE INDEX verification_drift_idx ON bf_control.verification (tenant_id) WHERE drift IS NOT NULL;
