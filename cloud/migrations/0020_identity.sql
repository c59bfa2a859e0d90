-- People: accounts, their places in workspaces, their sign-ins, links in mails, what they did.
CREATE TABLE account (
    id TEXT PRIMARY KEY NOT NULL,
    email TEXT NOT NULL UNIQUE,
    password TEXT,
    created_unix BIGINT NOT NULL,
    confirmed_unix BIGINT
);
CREATE TABLE member (
    workspace TEXT NOT NULL,
    account TEXT NOT NULL REFERENCES account (id),
    role TEXT NOT NULL,
    created_unix BIGINT NOT NULL,
    removed_unix BIGINT,
    PRIMARY KEY (workspace, account)
);
CREATE TABLE sign_in (
    id TEXT PRIMARY KEY NOT NULL,
    workspace TEXT NOT NULL,
    account TEXT NOT NULL REFERENCES account (id),
    handle_hash BLOB NOT NULL UNIQUE,
    previous_hash BLOB,
    previous_salt BLOB,
    rotated_unix BIGINT,
    created_unix BIGINT NOT NULL,
    used_unix BIGINT NOT NULL,
    ended_unix BIGINT,
    client TEXT NOT NULL
);
CREATE INDEX sign_in_by_previous ON sign_in (previous_hash);
CREATE INDEX sign_in_by_account ON sign_in (account);
CREATE TABLE device (
    hash BLOB PRIMARY KEY NOT NULL,
    account TEXT NOT NULL REFERENCES account (id),
    created_unix BIGINT NOT NULL
);
CREATE TABLE link (
    hash BLOB PRIMARY KEY NOT NULL,
    purpose TEXT NOT NULL,
    workspace TEXT NOT NULL,
    email TEXT NOT NULL,
    role TEXT,
    created_unix BIGINT NOT NULL,
    expires_unix BIGINT NOT NULL,
    consumed_unix BIGINT
);
CREATE INDEX link_by_email ON link (email);
CREATE TABLE audit (
    id TEXT PRIMARY KEY NOT NULL,
    workspace TEXT NOT NULL,
    at_unix BIGINT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL
);
CREATE INDEX audit_by_workspace ON audit (workspace, id);
ALTER TABLE instance ADD COLUMN workspace TEXT NOT NULL DEFAULT 'home';
