//! Published documents as they go out: bytes, compressed bytes and entity tag, made once per snapshot.

use std::collections::BTreeMap;
use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::domain::ApiId;

use super::Published;

/// One representation, ready to send.
#[derive(Debug, Clone)]
pub struct Rendered {
    pub content_type: &'static str,
    pub identity: Bytes,
    pub gzip: Bytes,
    /// Strong entity tag of the identity form, without quotes; the compressed form appends `-gzip`.
    pub tag: String,
}

impl Rendered {
    pub fn new(content_type: &'static str, body: Vec<u8>) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &body);
        let tag = URL_SAFE_NO_PAD.encode(digest.as_ref().get(..16).unwrap_or_default());
        Self { content_type, gzip: compress(&body), identity: body.into(), tag }
    }
}

/// Compression into memory does not fail; were it to, the identity form would be labelled wrongly, so it stays empty
/// and is then never chosen.
fn compress(body: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    match encoder.write_all(body).and_then(|()| encoder.finish()) {
        Ok(compressed) => compressed.into(),
        Err(_) => Bytes::new(),
    }
}

/// What the portal lists of one API.
#[derive(Debug, Clone)]
pub struct Listing {
    pub id: ApiId,
    pub title: String,
    pub version: String,
    pub description: String,
    pub institution: String,
    pub base_path: String,
    pub operations: Vec<ListedOperation>,
}

#[derive(Debug, Clone)]
pub struct ListedOperation {
    pub id: String,
    pub method: String,
    pub path: String,
    pub summary: String,
    pub scopes: String,
}

/// Everything published by one snapshot.
#[derive(Debug, Clone)]
pub struct Documents {
    pub json: Rendered,
    pub yaml: Rendered,
    pub apis: BTreeMap<ApiId, Rendered>,
    pub listings: Vec<Listing>,
}

impl Documents {
    pub fn render(published: &Published, listings: Vec<Listing>) -> Result<Self, RenderError> {
        let yaml = serde_saphyr::to_string(&published.unified).map_err(|error| RenderError(error.to_string()))?;
        let apis = published.apis.iter().map(|(id, document)| (id.clone(), json(document))).collect();
        Ok(Self {
            json: json(&published.unified),
            yaml: Rendered::new("application/yaml", yaml.into_bytes()),
            apis,
            listings,
        })
    }
}

fn json(document: &serde_json::Value) -> Rendered {
    Rendered::new("application/json", document.to_string().into_bytes())
}

/// The unified document could not be written as YAML.
#[derive(Debug, thiserror::Error)]
#[error("the unified document cannot be written as YAML: {0}")]
pub struct RenderError(String);
