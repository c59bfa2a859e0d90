-- Signing in at another provider: attempts under way, who is linked, and which sign-ins came so.
CREATE TABLE oidc_attempt (
    state_hash BLOB PRIMARY KEY NOT NULL,
    workspace TEXT NOT NULL,
    browser_hash BLOB NOT NULL,
    nonce TEXT NOT NULL,
    verifier TEXT NOT NULL,
    account TEXT,
    expires_unix BIGINT NOT NULL
);
CREATE INDEX oidc_attempt_by_expiry ON oidc_attempt (expires_unix);
CREATE TABLE oidc_identity (
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    account TEXT NOT NULL REFERENCES account (id),
    created_unix BIGINT NOT NULL,
    PRIMARY KEY (issuer, subject)
);
CREATE INDEX oidc_identity_by_account ON oidc_identity (account);
CREATE TABLE oidc_sign_in (
    sign_in TEXT PRIMARY KEY NOT NULL REFERENCES sign_in (id) ON DELETE CASCADE,
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    sid TEXT
);
CREATE INDEX oidc_sign_in_by_subject ON oidc_sign_in (issuer, subject);
