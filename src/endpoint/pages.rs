//! Pages and lists that are the same for everybody: rendered once per snapshot, so that asking for them costs no work.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;

use askama::Template;
use http::HeaderValue;
use serde_json::json;

use crate::catalogue::{Listing, Rendered};

/// Longest `Link` field of the API catalogue; a longer one would be refused by many clients with everything around it.
const LINKS_BYTES_MAX: usize = 4096;

/// What a snapshot shows of itself. A page that could not be rendered is absent.
pub struct Pages {
    pub(super) home: Option<Rendered>,
    pub(super) apis: HashMap<String, Rendered>,
    pub(super) api_catalog: Rendered,
    pub(super) links: Option<HeaderValue>,
    /// RFC 9116 §2.5.3.
    pub(super) security_contact: Option<Arc<str>>,
}

#[derive(Template)]
#[template(path = "home.html")]
struct Home<'a> {
    public_url: &'a str,
    listings: &'a [Listing],
}

#[derive(Template)]
#[template(path = "api.html")]
struct ApiPage<'a> {
    listing: &'a Listing,
}

impl Pages {
    pub fn render(public_url: &str, security_contact: Option<&str>, listings: &[Listing]) -> Self {
        let apis = listings.iter().filter_map(|listing| Some((listing.id.to_string(), html(&ApiPage { listing })?)));
        Self {
            home: html(&Home { public_url, listings }),
            apis: apis.collect(),
            api_catalog: api_catalog(public_url, listings),
            links: links(public_url, listings),
            security_contact: security_contact.map(Arc::from),
        }
    }
}

fn html(template: &impl Template) -> Option<Rendered> {
    Some(Rendered::new("text/html; charset=utf-8", template.render().ok()?.into_bytes()))
}

/// RFC 9727 §2: a linkset (RFC 9264) that leads to every API's description and documentation.
fn api_catalog(base: &str, listings: &[Listing]) -> Rendered {
    let items: Vec<_> = listings.iter().map(|l| json!({ "href": format!("{base}{}", l.base_path) })).collect();
    let mut entries = vec![json!({ "anchor": format!("{base}/.well-known/api-catalog"), "item": items })];
    entries.extend(listings.iter().map(|listing| {
        json!({
            "anchor": format!("{base}{}", listing.base_path),
            "service-desc": [{ "href": format!("{base}/openapi/{}.json", listing.id), "type": "application/json" }],
            "service-doc": [{ "href": format!("{base}/apis/{}", listing.id), "type": "text/html" }],
        })
    }));
    let body = json!({ "linkset": entries }).to_string().into_bytes();
    Rendered::new("application/linkset+json; profile=\"https://www.rfc-editor.org/info/rfc9727\"", body)
}

/// RFC 9727 §2: HEAD shows the relations in its Link field. As many as fit; the body has them all.
fn links(base: &str, listings: &[Listing]) -> Option<HeaderValue> {
    let mut links = String::new();
    for listing in listings {
        let before = links.len();
        let comma = if links.is_empty() { "" } else { ", " };
        let _infallible = write!(links, "{comma}<{base}{}>; rel=\"item\"", listing.base_path);
        if links.len() > LINKS_BYTES_MAX {
            links.truncate(before);
            break;
        }
    }
    HeaderValue::from_str(&links).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ApiId;

    fn listing(id: &str) -> Listing {
        Listing {
            id: ApiId::parse(id).unwrap(),
            title: "<script>alert(1)</script>".into(),
            version: "\"1\"".into(),
            description: String::new(),
            institution: "A & B".into(),
            base_path: format!("/{id}"),
            operations: Vec::new(),
        }
    }

    #[test]
    fn what_a_document_says_is_text_on_a_page() {
        let listing = listing("bank");
        for page in [
            html(&ApiPage { listing: &listing }),
            html(&Home { public_url: "https://x", listings: std::slice::from_ref(&listing) }),
        ] {
            let pieces: Vec<bytes::Bytes> = page.unwrap().inflate().unwrap().collect::<Result<_, _>>().unwrap();
            let html = String::from_utf8(pieces.concat()).unwrap();
            assert!(!html.contains("<script>alert"), "{html}");
            assert!(html.contains("&#60;script&#62;alert(1)") || html.contains("&lt;script&gt;alert(1)"), "{html}");
        }
    }

    #[test]
    fn the_link_field_has_a_bound_and_whole_links() {
        let many: Vec<_> = (0..1000).map(|n| listing(&format!("api-{n}"))).collect();
        let field = links("https://gateway.example", &many).unwrap();
        assert!(field.len() <= LINKS_BYTES_MAX);
        assert!(field.to_str().unwrap().ends_with("rel=\"item\""));
        assert!(links("https://gateway.example", &[]).is_none());
    }
}
