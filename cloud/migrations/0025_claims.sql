-- How often an agent host registered: of several nodes the one with the highest number speaks for it.
ALTER TABLE instance ADD COLUMN claim BIGINT NOT NULL DEFAULT 0;
-- What goes with an instance to another node: its sessions, and tickets that were spent for it.
CREATE INDEX session_by_instance ON session (instance);
ALTER TABLE spent_ticket ADD COLUMN instance TEXT NOT NULL DEFAULT '';
CREATE INDEX spent_ticket_by_instance ON spent_ticket (instance);
