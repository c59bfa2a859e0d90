-- The region near the person of a session; empty if it is the instance's own or unknown.
ALTER TABLE session ADD COLUMN client_region TEXT NOT NULL DEFAULT '';
