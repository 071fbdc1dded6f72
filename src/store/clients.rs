//! Clients that registered themselves.

use std::sync::Arc;

use async_trait::async_trait;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::Store;
use super::fault::{Fault, within_deadline};
use crate::domain::{ClientId, PartnerStatus, TenantId, Timestamp};
use crate::oauth::{DynamicClientStore, SecretHash, Software, StoreError, StoredClient};

const DAMAGED: Fault = Fault::Unreadable("a registered client is not one");

#[async_trait]
impl DynamicClientStore for Store {
    async fn load(&self) -> Result<Vec<StoredClient>, StoreError> {
        let query = sqlx::query("SELECT * FROM registered_clients").fetch_all(&self.reader);
        let rows = within_deadline(query).await?;
        Ok(rows.iter().map(read).collect::<Result<Vec<_>, _>>()?)
    }

    async fn put(&self, client: &StoredClient) -> Result<(), StoreError> {
        let metadata = serde_json::to_string(&client.metadata).map_err(|error| StoreError::Failed(Box::new(error)))?;
        let put = "INSERT OR REPLACE INTO registered_clients \
                   (id, template, profile, tenant, metadata, secret_hash, registration_token_hash, directory, \
                   software_id, software_statement, suspended, issued_at) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
        let software = client.software.as_ref();
        let call = sqlx::query(put)
            .bind(client.id.as_str())
            .bind(&*client.template)
            .bind(&client.profile)
            .bind(client.tenant.as_str())
            .bind(metadata)
            .bind(client.secret.map(|hash| hash.0.to_vec()))
            .bind(&client.registration_token.0[..])
            .bind(software.map(|software| software.directory.to_string()))
            .bind(software.and_then(|software| software.id.clone()))
            .bind(software.map(|software| software.statement.clone()))
            .bind(i64::from(client.status == PartnerStatus::Suspended))
            .bind(client.issued_at.micros())
            .execute(&self.writer);
        within_deadline(call).await?;
        Ok(())
    }

    async fn remove(&self, id: &ClientId) -> Result<(), StoreError> {
        let call = sqlx::query("DELETE FROM registered_clients WHERE id = $1").bind(id.as_str()).execute(&self.writer);
        within_deadline(call).await?;
        Ok(())
    }
}

fn read(row: &SqliteRow) -> Result<StoredClient, Fault> {
    let (id, tenant): (String, String) = (row.try_get("id")?, row.try_get("tenant")?);
    let (template, metadata): (String, String) = (row.try_get("template")?, row.try_get("metadata")?);
    let hash = |bytes: Vec<u8>| bytes.try_into().map(SecretHash).map_err(|_| DAMAGED);
    let secret: Option<Vec<u8>> = row.try_get("secret_hash")?;
    let (directory, software_id): (Option<String>, Option<String>) =
        (row.try_get("directory")?, row.try_get("software_id")?);
    let statement: Option<String> = row.try_get("software_statement")?;
    let software = directory.zip(statement).map(|(directory, statement)| Software {
        directory: Arc::from(directory),
        id: software_id,
        statement,
    });
    let suspended: i64 = row.try_get("suspended")?;
    Ok(StoredClient {
        id: ClientId::parse(&id).map_err(|_| DAMAGED)?,
        template: template.into(),
        profile: row.try_get("profile")?,
        tenant: TenantId::parse(&tenant).map_err(|_| DAMAGED)?,
        metadata: serde_json::from_str(&metadata).map_err(|_| DAMAGED)?,
        secret: secret.map(hash).transpose()?,
        registration_token: hash(row.try_get("registration_token_hash")?)?,
        software,
        status: if suspended == 0 { PartnerStatus::Active } else { PartnerStatus::Suspended },
        issued_at: Timestamp::from_micros(row.try_get("issued_at")?),
    })
}
