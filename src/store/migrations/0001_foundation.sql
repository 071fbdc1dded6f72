-- Never edit a migration that was released: a gateway refuses a database whose applied migrations differ from its own.

PRAGMA application_id = 1129076569; -- "CLWY": tells our files from those of others.

-- Private keys in the clear: the file's mode (0600) protects them.
CREATE TABLE signing_keys (
    kid TEXT PRIMARY KEY NOT NULL,
    algorithm TEXT NOT NULL,
    private_key TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('next', 'current', 'retired')),
    created_at INTEGER NOT NULL,
    since INTEGER NOT NULL
) STRICT;

-- The digest of client and jti, so that a row's size is not the client's choice.
CREATE TABLE replay_marks (
    digest BLOB PRIMARY KEY NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX replay_marks_by_expiry ON replay_marks (expires_at);

CREATE TABLE revoked_tokens (
    jti TEXT PRIMARY KEY NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX revoked_tokens_by_expiry ON revoked_tokens (expires_at);

CREATE TABLE window_counts (
    plan TEXT NOT NULL,
    limit_name TEXT NOT NULL,
    counted_per TEXT NOT NULL,
    counted_key TEXT NOT NULL,
    starts_at INTEGER NOT NULL,
    ends_at INTEGER NOT NULL,
    used INTEGER NOT NULL,
    PRIMARY KEY (plan, limit_name, counted_per, counted_key, starts_at, ends_at)
) STRICT, WITHOUT ROWID;
CREATE INDEX window_counts_by_end ON window_counts (ends_at);
