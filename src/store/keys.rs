//! Signing keys of the authorization server.

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::Store;
use super::fault::{Fault, within_deadline};
use crate::domain::Timestamp;
use crate::oauth::{KeyState, KeyStore, StoreError, StoredKey};

#[async_trait]
impl KeyStore for Store {
    async fn load(&self) -> Result<Vec<StoredKey>, StoreError> {
        Ok(within_deadline(self.read_keys()).await?)
    }

    async fn replace(&self, keys: &[StoredKey]) -> Result<(), StoreError> {
        Ok(within_deadline(self.replace_keys(keys)).await?)
    }
}

impl Store {
    async fn read_keys(&self) -> Result<Vec<StoredKey>, Fault> {
        let query = "SELECT kid, algorithm, private_key, state, created_at, since FROM signing_keys \
                     ORDER BY created_at, kid";
        sqlx::query(query).fetch_all(&self.reader).await?.iter().map(read_key).collect()
    }

    async fn replace_keys(&self, keys: &[StoredKey]) -> Result<(), Fault> {
        let mut change = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query("DELETE FROM signing_keys").execute(&mut *change).await?;
        for key in keys {
            let insert = "INSERT INTO signing_keys (kid, algorithm, private_key, state, created_at, since) \
                          VALUES ($1, $2, $3, $4, $5, $6)";
            sqlx::query(insert)
                .bind(&key.kid)
                .bind(&key.algorithm)
                .bind(key.private_key.expose_secret())
                .bind(state_text(key.state))
                .bind(key.created_at.micros())
                .bind(key.since.micros())
                .execute(&mut *change)
                .await?;
        }
        Ok(change.commit().await?)
    }
}

fn read_key(row: &SqliteRow) -> Result<StoredKey, Fault> {
    let state: String = row.try_get("state")?;
    Ok(StoredKey {
        kid: row.try_get("kid")?,
        algorithm: row.try_get("algorithm")?,
        private_key: SecretString::from(row.try_get::<String, _>("private_key")?),
        state: parse_state(&state).ok_or(Fault::Unreadable("a signing key has an unknown state"))?,
        created_at: Timestamp::from_micros(row.try_get("created_at")?),
        since: Timestamp::from_micros(row.try_get("since")?),
    })
}

const fn state_text(state: KeyState) -> &'static str {
    match state {
        KeyState::Next => "next",
        KeyState::Current => "current",
        KeyState::Retired => "retired",
    }
}

fn parse_state(text: &str) -> Option<KeyState> {
    [KeyState::Next, KeyState::Current, KeyState::Retired].into_iter().find(|state| state_text(*state) == text)
}
