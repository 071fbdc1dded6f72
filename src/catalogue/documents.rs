//! Published documents as they go out: bytes, compressed bytes and entity tag, made once per snapshot.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::buf::Reader;
use bytes::{Buf, Bytes};
use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;

use crate::domain::ApiId;

use super::Published;

const JSON: &str = "application/json";
/// Longest document whose identity form is held beside the compressed one.
const HELD_BYTES_MAX: usize = 256 * 1024;
/// What is inflated at a time for who cannot take the compressed form.
const PIECE_BYTES: usize = 64 * 1024;
/// Most who are read out one document at a time: each costs a piece and the decoder's window, for as long as it likes.
const READERS_MAX: usize = 64;

/// One representation, ready to send.
#[derive(Debug, Clone)]
pub struct Rendered {
    pub content_type: &'static str,
    pub identity: Identity,
    /// Empty: there is none.
    pub gzip: Bytes,
    /// Strong entity tag of the identity form, without quotes; the compressed form appends `-gzip`.
    pub tag: String,
    /// Held once by each who is being read out the document.
    readers: Arc<()>,
}

/// A document as it was written.
#[derive(Debug, Clone)]
pub enum Identity {
    Held(Bytes),
    /// Too long to be held twice: this many bytes, which [`Rendered::inflate`] reads out of the compressed form. Nearly
    /// everybody takes that one.
    Compressed(usize),
}

impl Rendered {
    pub fn new(content_type: &'static str, body: Vec<u8>) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &body);
        let tag = URL_SAFE_NO_PAD.encode(digest.as_ref().get(..16).unwrap_or_default());
        let gzip = compress(&body);
        let identity = if body.len() > HELD_BYTES_MAX && !gzip.is_empty() {
            Identity::Compressed(body.len())
        } else {
            Identity::Held(body.into())
        };
        Self { content_type, gzip, identity, tag, readers: Arc::default() }
    }

    /// The identity form, piece by piece. `None`: there are as many readers as there may be.
    pub fn inflate(&self) -> Option<Pieces> {
        let reader = Arc::clone(&self.readers);
        let room = Arc::strong_count(&reader) <= READERS_MAX + 1; // Ours and the document's own.
        room.then(|| Pieces { decoder: GzDecoder::new(self.gzip.clone().reader()), _reader: reader })
    }
}

/// A document on its way out of its compressed form. It holds one piece at a time, whoever reads how slowly.
pub struct Pieces {
    decoder: GzDecoder<Reader<Bytes>>,
    _reader: Arc<()>,
}

impl Iterator for Pieces {
    type Item = std::io::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        match self.decoder.by_ref().take(PIECE_BYTES as u64).read_to_end(&mut piece) {
            Ok(0) => None,
            Ok(_) => Some(Ok(piece.into())),
            Err(error) => Some(Err(error)),
        }
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
}

impl Documents {
    pub fn render(published: Published) -> Result<Self, RenderError> {
        let Published { unified, apis } = published;
        let apis = apis.into_iter().map(|(id, document)| (id, Rendered::new(JSON, document.into_bytes()))).collect();
        let yaml = serde_saphyr::to_string(&unified).map_err(|error| RenderError(error.to_string()))?;
        Ok(Self { yaml: Rendered::new("application/yaml", yaml.into_bytes()), json: json(&unified), apis })
    }
}

fn json(document: &serde_json::Value) -> Rendered {
    Rendered::new(JSON, document.to_string().into_bytes())
}

/// The unified document could not be written as YAML.
#[derive(Debug, thiserror::Error)]
#[error("the unified document cannot be written as YAML: {0}")]
pub struct RenderError(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_document_is_held_once_and_read_out_whole() {
        let text: Vec<u8> = (0..200_000_u32).flat_map(u32::to_be_bytes).collect();
        for (length, held) in [(0, true), (HELD_BYTES_MAX, true), (HELD_BYTES_MAX + 1, false), (text.len(), false)] {
            let body = &text[..length];
            let rendered = Rendered::new("text/plain", body.to_vec());
            match &rendered.identity {
                Identity::Held(bytes) => assert!(held && *bytes == body, "{length}"),
                Identity::Compressed(bytes) => assert!(!held && *bytes == length, "{length}"),
            }
            let pieces: Vec<Bytes> = rendered.inflate().unwrap().collect::<Result<_, _>>().unwrap();
            assert!(pieces.iter().all(|piece| piece.len() <= PIECE_BYTES), "{length}");
            assert!(pieces.concat() == body, "{length}");
        }
    }

    #[test]
    fn a_document_has_so_many_readers_and_no_more() {
        let rendered = Rendered::new("text/plain", vec![b'x'; HELD_BYTES_MAX + 1]);
        let mut readers: Vec<Pieces> = (0..READERS_MAX).filter_map(|_| rendered.inflate()).collect();
        assert_eq!(readers.len(), READERS_MAX);
        assert!(rendered.inflate().is_none());
        readers.pop();
        assert!(rendered.inflate().is_some(), "who is done makes room");
    }

    #[test]
    fn a_compressed_form_that_is_broken_is_an_error_and_an_end() {
        let mut rendered = Rendered::new("text/plain", vec![b'x'; HELD_BYTES_MAX + 1]);
        rendered.gzip.truncate(40);
        assert!(rendered.inflate().unwrap().take(10).any(|piece| piece.is_err()));
    }
}
