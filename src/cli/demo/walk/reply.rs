//! An answer as an outsider sees it.

use anyhow::{Context, bail, ensure};
use http::{HeaderMap, StatusCode, Version};
use serde_json::Value;

/// How much of an unexpected body is shown.
const EXCERPT_CHARS: usize = 300;

pub(super) struct Reply {
    pub status: StatusCode,
    pub version: Version,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Reply {
    /// Sends and reads to the end.
    pub async fn to(request: reqwest::RequestBuilder) -> anyhow::Result<Self> {
        let response = request.send().await.context("no answer")?;
        let (status, version, headers) = (response.status(), response.version(), response.headers().clone());
        let body = response.bytes().await.context("the answer broke off")?.to_vec();
        Ok(Self { status, version, headers, body })
    }

    /// The first field of this name; empty if there is none.
    pub fn field(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub fn expect(&self, status: u16) -> anyhow::Result<&Self> {
        ensure!(self.status == status, "{} instead of {status}: {}", self.status.as_u16(), self.excerpt());
        Ok(self)
    }

    pub fn expect_field(&self, name: &str, value: &str) -> anyhow::Result<&Self> {
        let came = self.field(name);
        ensure!(came == value, "{name} is {came:?} instead of {value:?}");
        Ok(self)
    }

    pub fn expect_in_field(&self, name: &str, part: &str) -> anyhow::Result<&Self> {
        let came = self.field(name);
        ensure!(came.contains(part), "{name} is {came:?}, without {part:?}");
        Ok(self)
    }

    pub fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("not JSON: {}", self.excerpt()))
    }

    /// A problem document of this kind (RFC 9457), complete and true to its status and its exchange.
    pub fn problem(&self, status: u16, code: &str) -> anyhow::Result<Value> {
        self.expect(status)?.expect_field("content-type", "application/problem+json")?;
        let problem = self.json()?;
        let member = |name: &str| problem.get(name).and_then(Value::as_str).unwrap_or_default();
        if member("code") != code {
            bail!("the problem is {:?} instead of {code:?}: {}", member("code"), self.excerpt());
        }
        ensure!(member("type").ends_with(&format!("/problems/{code}")), "type is {:?}", member("type"));
        ensure!(!member("title").is_empty(), "the problem has no title");
        ensure!(problem.get("status").and_then(Value::as_u64) == Some(u64::from(status)), "status differs in the body");
        let interaction = member("interaction_id");
        ensure!(interaction == self.field("x-fapi-interaction-id"), "interaction id differs between body and field");
        Ok(problem)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn excerpt(&self) -> String {
        let text: String = self.text().chars().take(EXCERPT_CHARS).collect();
        if text.is_empty() { "(no body)".to_owned() } else { text }
    }
}

/// A text at a JSON Pointer; empty if there is none.
pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The elements at a JSON Pointer.
pub(super) fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
