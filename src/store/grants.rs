//! What users granted to clients.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::Store;
use super::fault::{Fault, within_deadline};
use super::revocations::mark_revoked;
use crate::domain::{ClientId, ScopeSet, Timestamp};
use crate::oauth::{Grant, GrantId, GrantStore, RequestedClaims, RevokedToken, SecretHash, StoreError};

/// Rows that one statement removes, so that other writers get their turn in between.
const PURGED_AT_ONCE: i64 = 1_000;
const BY_TOKEN: &str =
    "SELECT id, client, subject, body, created_at, expires_at FROM grants WHERE refresh_token_hash = $1";
const BY_ID: &str = "SELECT id, client, subject, body, created_at, expires_at FROM grants WHERE id = $1";

/// What nobody searches for.
#[derive(Serialize, Deserialize)]
struct Body {
    scope: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    authorization_details: Vec<Value>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    resources: Vec<String>,
    /// As it was written when there was one at most.
    #[serde(default, skip_serializing)]
    resource: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    claims: Option<RequestedClaims>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    acr: Option<Arc<str>>,
    /// Microseconds since 1970.
    auth_time: i64,
}

#[async_trait]
impl GrantStore for Store {
    async fn insert(&self, grant: &Grant, refresh_token: SecretHash) -> Result<(), StoreError> {
        let body = Body {
            scope: grant.scopes.to_string(),
            authorization_details: grant.authorization_details.clone(),
            resources: grant.resources.clone(),
            resource: None,
            claims: grant.claims.clone(),
            acr: grant.acr.clone(),
            auth_time: grant.auth_time.micros(),
        };
        let body = serde_json::to_string(&body).map_err(|error| StoreError::Failed(Box::new(error)))?;
        let insert = "INSERT INTO grants (id, client, subject, refresh_token_hash, body, created_at, expires_at) \
                      VALUES ($1, $2, $3, $4, $5, $6, $7)";
        let call = sqlx::query(insert)
            .bind(grant.id.as_str())
            .bind(grant.client_id.as_str())
            .bind(&*grant.subject)
            .bind(&refresh_token.0[..])
            .bind(body)
            .bind(grant.created_at.micros())
            .bind(grant.expires_at.micros())
            .execute(&self.writer);
        within_deadline(call).await?;
        Ok(())
    }

    async fn find_by_refresh_token(&self, refresh_token: SecretHash) -> Result<Option<Grant>, StoreError> {
        let call = sqlx::query(BY_TOKEN).bind(refresh_token.0.to_vec()).fetch_optional(&self.reader);
        Ok(within_deadline(call).await?.as_ref().map(read).transpose()?)
    }

    async fn find(&self, id: &GrantId) -> Result<Option<Grant>, StoreError> {
        let call = sqlx::query(BY_ID).bind(id.as_str().to_owned()).fetch_optional(&self.reader);
        Ok(within_deadline(call).await?.as_ref().map(read).transpose()?)
    }

    async fn end(&self, id: &GrantId, mark: &RevokedToken) -> Result<(), StoreError> {
        Ok(within_deadline(self.end_grant(id, mark)).await?)
    }

    async fn remove_of_client(&self, client: &ClientId) -> Result<Vec<GrantId>, StoreError> {
        let remove = "DELETE FROM grants WHERE client = $1 RETURNING id";
        let call = sqlx::query_scalar(remove).bind(client.as_str()).fetch_all(&self.writer);
        let ids: Vec<String> = within_deadline(call).await?;
        Ok(ids.iter().map(|id| GrantId::stored(id)).collect())
    }

    async fn purge(&self, now: Timestamp) -> Result<(), StoreError> {
        let purge = "DELETE FROM grants WHERE id IN \
                     (SELECT id FROM grants WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)";
        loop {
            let call = sqlx::query(purge).bind(now.micros()).bind(PURGED_AT_ONCE).execute(&self.writer);
            if within_deadline(call).await?.rows_affected() == 0 {
                return Ok(());
            }
        }
    }
}

impl Store {
    async fn end_grant(&self, id: &GrantId, mark: &RevokedToken) -> Result<(), Fault> {
        let mut change = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        mark_revoked(mark).execute(&mut *change).await?;
        sqlx::query("DELETE FROM grants WHERE id = $1").bind(id.as_str()).execute(&mut *change).await?;
        Ok(change.commit().await?)
    }
}

fn read(row: &SqliteRow) -> Result<Grant, Fault> {
    let damaged = |_| Fault::Unreadable("a grant is not one");
    let body: String = row.try_get("body")?;
    let body: Body = serde_json::from_str(&body).map_err(|_| Fault::Unreadable("a grant is not one"))?;
    let id: String = row.try_get("id")?;
    let client: String = row.try_get("client")?;
    let subject: String = row.try_get("subject")?;
    Ok(Grant {
        id: GrantId::stored(&id),
        client_id: ClientId::parse(&client).map_err(|_| Fault::Unreadable("a grant is not one"))?,
        subject: subject.into(),
        scopes: ScopeSet::parse(&body.scope).map_err(damaged)?,
        authorization_details: body.authorization_details,
        resources: body.resources.into_iter().chain(body.resource).collect(),
        claims: body.claims,
        acr: body.acr,
        auth_time: Timestamp::from_micros(body.auth_time),
        created_at: Timestamp::from_micros(row.try_get("created_at")?),
        expires_at: Timestamp::from_micros(row.try_get("expires_at")?),
    })
}
