-- Devices: sign-ins with a name and a key. When a wrong key was last noted, and the proofs that were
-- used: every node takes each of them once.
ALTER TABLE sign_in ADD COLUMN device_name TEXT;
ALTER TABLE sign_in ADD COLUMN device_key BLOB;
ALTER TABLE sign_in ADD COLUMN misused_unix BIGINT;
CREATE TABLE device_proof (
    fingerprint BLOB PRIMARY KEY NOT NULL,
    expires_unix BIGINT NOT NULL
);
CREATE INDEX device_proof_by_expiry ON device_proof (expires_unix);
