-- What users granted, for as long as it lasts. `body` is JSON; what is searched for has a column of its own.
CREATE TABLE grants (
    id TEXT PRIMARY KEY NOT NULL,
    client TEXT NOT NULL,
    subject TEXT NOT NULL,
    refresh_token_hash BLOB NOT NULL UNIQUE,
    body TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX grants_by_client ON grants (client);
CREATE INDEX grants_by_subject ON grants (subject);
CREATE INDEX grants_by_expiry ON grants (expires_at);

-- Secrets of the server's own that must stay the same, for instance the salt of pairwise subjects.
CREATE TABLE secrets (
    name TEXT PRIMARY KEY NOT NULL,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;
