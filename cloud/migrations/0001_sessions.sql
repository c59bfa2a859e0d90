-- Instances and who may use them; sessions and spent tickets of signalling.
CREATE TABLE instance (
    id TEXT PRIMARY KEY NOT NULL,
    region TEXT NOT NULL,
    credential_hash BLOB NOT NULL,
    created_unix BIGINT NOT NULL,
    -- A deleted id never returns.
    deleted_unix BIGINT
);
CREATE TABLE access (
    id TEXT PRIMARY KEY NOT NULL,
    instance TEXT NOT NULL REFERENCES instance (id),
    role TEXT NOT NULL,
    key_hash BLOB NOT NULL,
    created_unix BIGINT NOT NULL,
    expires_unix BIGINT,
    revoked_unix BIGINT
);
CREATE INDEX access_by_instance ON access (instance);
CREATE TABLE session (
    id TEXT PRIMARY KEY NOT NULL,
    instance TEXT NOT NULL,
    role TEXT NOT NULL,
    mode TEXT NOT NULL,
    subject TEXT NOT NULL,
    region TEXT NOT NULL,
    generation BIGINT NOT NULL,
    opened_unix BIGINT NOT NULL,
    issued_unix BIGINT NOT NULL,
    expires_unix BIGINT NOT NULL
);
CREATE TABLE spent_ticket (
    id TEXT PRIMARY KEY NOT NULL,
    expires_unix BIGINT NOT NULL
);
CREATE INDEX spent_ticket_by_expiry ON spent_ticket (expires_unix);
