-- Clients that registered themselves (RFC 7591). `metadata` is JSON; secrets and tokens are kept as SHA-256 only.
CREATE TABLE registered_clients (
    id TEXT PRIMARY KEY NOT NULL,
    template TEXT NOT NULL,
    profile TEXT NOT NULL,
    tenant TEXT NOT NULL,
    metadata TEXT NOT NULL,
    secret_hash BLOB,
    registration_token_hash BLOB NOT NULL,
    directory TEXT,
    software_id TEXT,
    software_statement TEXT,
    suspended INTEGER NOT NULL,
    issued_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
