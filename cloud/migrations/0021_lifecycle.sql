-- What is wanted of desktops whose machines the service starts itself. 'external': somebody else
-- runs the machine, as all did before.
ALTER TABLE instance ADD COLUMN name TEXT NOT NULL DEFAULT '';
ALTER TABLE instance ADD COLUMN driver TEXT NOT NULL DEFAULT 'external';
ALTER TABLE instance ADD COLUMN size TEXT NOT NULL DEFAULT 'small';
ALTER TABLE instance ADD COLUMN desired TEXT NOT NULL DEFAULT 'stopped';
ALTER TABLE instance ADD COLUMN generation BIGINT NOT NULL DEFAULT 0;
-- Nothing is left of its machine and files; the row stays, so that the id never returns.
ALTER TABLE instance ADD COLUMN purged_unix BIGINT;
CREATE INDEX instance_by_workspace ON instance (workspace);
