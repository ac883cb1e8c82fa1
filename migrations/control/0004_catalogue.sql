-- What there is to choose from. Only adds: processes of the release before go on beside it.

CREATE TABLE bf_control.tier (
    name varchar(20) COLLATE "C" NOT NULL CONSTRAINT tier_pkey PRIMARY KEY,
    description text NOT NULL DEFAULT '',
    rank integer NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT tier_name_check CHECK (name ~ '^[a-z][a-z0-9_]{0,19}$')
);

COMMENT ON COLUMN bf_control.tier.rank IS 'A tier includes what those of a lower rank include';

INSERT INTO bf_control.tier (name, description, rank)
VALUES ('basic', 'Budgets and their lines', 10),
       ('standard', 'What a tenant has that asked for nothing else', 20),
       ('professional', 'Analysis on top of it', 30),
       ('premium', 'Forecasts and insights by AI on top of it', 40),
       ('enterprise', 'Everything', 50);

-- Tiers that tenants have already: they rank with the standard one until somebody says otherwise.
INSERT INTO bf_control.tier (name, description, rank)
SELECT DISTINCT t.subscription_tier, '', 20 FROM bf_control.tenant t
 WHERE t.subscription_tier ~ '^[a-z][a-z0-9_]{0,19}$'
    ON CONFLICT DO NOTHING;
