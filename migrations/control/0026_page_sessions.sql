-- Who is signed in at the operator's page. Only adds: processes of the release before have no page to sign in at.

CREATE TABLE bf_control.page_session (
    token_hash bytea NOT NULL CONSTRAINT page_session_pkey PRIMARY KEY,
    key_id text COLLATE "C"
        CONSTRAINT page_session_key_id_fkey REFERENCES bf_control.api_key ON DELETE CASCADE,
    subject text COLLATE "C",
    name text,
    role text COLLATE "C",
    tenant_id text COLLATE "C",
    created_at timestamptz NOT NULL DEFAULT now(),
    used_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    CONSTRAINT page_session_token_hash_check CHECK (octet_length(token_hash) = 32),
    CONSTRAINT page_session_caller_check CHECK (
        (key_id IS NULL) <> (subject IS NULL) AND (subject IS NULL) = (name IS NULL)
        AND (subject IS NULL) = (role IS NULL) AND (subject IS NOT NULL OR tenant_id IS NULL))
);
CREATE INDEX page_session_key_id_idx ON bf_control.page_session (key_id);
CREATE INDEX page_session_expires_at_idx ON bf_control.page_session (expires_at);

COMMENT ON TABLE bf_control.page_session IS
    'Sessions of the operator''s page. Of the cookie only a hash is kept; what a session of an API key may do is what '
    'the key may, read with it each time';
