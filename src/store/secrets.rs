//! Secrets of the authorization server's own.

use async_trait::async_trait;

use super::Store;
use super::fault::{Fault, within_deadline};
use crate::oauth::{SecretStore, StoreError};

#[async_trait]
impl SecretStore for Store {
    async fn secret(&self, name: &'static str, fresh: [u8; 32]) -> Result<[u8; 32], StoreError> {
        Ok(within_deadline(self.read_or_keep(name, fresh)).await?)
    }
}

impl Store {
    async fn read_or_keep(&self, name: &'static str, fresh: [u8; 32]) -> Result<[u8; 32], Fault> {
        let insert = "INSERT INTO secrets (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
        sqlx::query(insert).bind(name).bind(&fresh[..]).execute(&self.writer).await?;
        let read = "SELECT value FROM secrets WHERE name = $1";
        let value: Vec<u8> = sqlx::query_scalar(read).bind(name).fetch_one(&self.writer).await?;
        value.try_into().map_err(|_| Fault::Unreadable("a secret has another length than it was given"))
    }
}
