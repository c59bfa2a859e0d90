-- Failed sign-ins by address and place: every node counts the same ones.
CREATE TABLE sign_in_failure (
    pair TEXT PRIMARY KEY NOT NULL,
    email TEXT NOT NULL,
    failures BIGINT NOT NULL,
    last_unix BIGINT NOT NULL,
    locked_until_unix BIGINT NOT NULL
);
CREATE INDEX sign_in_failure_by_email ON sign_in_failure (email);
CREATE INDEX sign_in_failure_by_time ON sign_in_failure (last_unix);
