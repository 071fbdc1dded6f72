//! Scalars: what each text or number of the configuration means. A message says what was expected, never a secret.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use secrecy::SecretString;

use crate::domain::{Jurisdiction, ScopeSet};

use super::tree::{Entry, Node, Value};

/// A text with its `${NAME}` and `${NAME:-default}` references replaced. A number written without quotes is a text too.
pub(super) fn text(entry: &Entry<'_>, node: &Node) -> Result<String, String> {
    match &node.value {
        Value::Text(raw) => expand(entry, raw),
        Value::Number(raw) => Ok(raw.clone()),
        other => Err(format!("expected a text, found {}", other.kind())),
    }
}

fn expand(entry: &Entry<'_>, raw: &str) -> Result<String, String> {
    let mut expanded = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((before, reference)) = rest.split_once("${") {
        let (inside, after) = reference.split_once('}').ok_or("`${` without its `}`")?;
        let (name, default) = inside.split_once(":-").map_or((inside, None), |(name, default)| (name, Some(default)));
        expanded.push_str(before);
        match (entry.context.variable(name), default) {
            (Some(value), _) => expanded.push_str(&value),
            (None, Some(default)) => expanded.push_str(default),
            (None, None) => return Err(format!("the environment variable {name} is not set")),
        }
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// Anything that reads itself from a text.
pub(super) fn parsed<T>(entry: &Entry<'_>, node: &Node) -> Result<T, String>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    text(entry, node)?.parse().map_err(|error: T::Err| error.to_string())
}

pub(super) fn boolean(_: &Entry<'_>, node: &Node) -> Result<bool, String> {
    match &node.value {
        Value::Bool(value) => Ok(*value),
        other => Err(format!("expected true or false, found {}", other.kind())),
    }
}

/// As [`boolean`], or a text such as `${NAME:-false}` that becomes one.
pub(super) fn switch(entry: &Entry<'_>, node: &Node) -> Result<bool, String> {
    match &node.value {
        Value::Bool(value) => Ok(*value),
        _ => parsed(entry, node).map_err(|_| "expected true or false".to_owned()),
    }
}

/// Ten years.
const DURATION_MILLIS_MAX: u64 = 3650 * 86_400_000;

/// `200ms`, `30s`, `5m`, `12h`, `30d`; never a bare number.
pub(super) fn duration(entry: &Entry<'_>, node: &Node) -> Result<Duration, String> {
    let written = text(entry, node)?;
    let wrong = || "expected a number with its unit: ms, s, m, h or d, such as 30s".to_owned();
    let digits = written.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = written.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let millis = match unit.trim_start() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    let millis = number.checked_mul(millis).ok_or("this is longer than time itself")?;
    if millis == 0 {
        return Err("expected more than nothing".to_owned());
    }
    // Beyond, adding it to an instant could overflow.
    if millis > DURATION_MILLIS_MAX {
        return Err("expected at most 3650d".to_owned());
    }
    Ok(Duration::from_millis(millis))
}

/// A [`duration`] within `bounds`, which are `written` so for people.
pub(super) fn duration_within(
    bounds: RangeInclusive<Duration>,
    written: &'static str,
) -> impl Fn(&Entry<'_>, &Node) -> Result<Duration, String> {
    move |entry, node| match duration(entry, node)? {
        span if bounds.contains(&span) => Ok(span),
        _ => Err(format!("expected {written}")),
    }
}

/// `512`, `64KiB`, `1MiB`, `2GiB`.
pub(super) fn bytes(entry: &Entry<'_>, node: &Node) -> Result<u64, String> {
    let written = text(entry, node)?;
    let wrong = || "expected a number of bytes, KiB, MiB or GiB, such as 64KiB".to_owned();
    let digits = written.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = written.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let factor = match unit.trim_start() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(wrong()),
    };
    number.checked_mul(factor).filter(|bytes| *bytes > 0).ok_or_else(wrong)
}

pub(super) fn size(entry: &Entry<'_>, node: &Node) -> Result<usize, String> {
    usize::try_from(bytes(entry, node)?).map_err(|_| "too large".to_owned())
}

/// A path, relative to the folder of the configuration. That it exists is checked by [`file`].
pub(super) fn path(entry: &Entry<'_>, node: &Node) -> Result<PathBuf, String> {
    let written = text(entry, node)?;
    if written.is_empty() {
        return Err("expected a path".to_owned());
    }
    Ok(entry.context.folder().join(written))
}

/// The path of a file that exists; a change of it is a change of the configuration.
pub(super) fn file(entry: &Entry<'_>, node: &Node) -> Result<PathBuf, String> {
    let path = path(entry, node)?;
    if !path.is_file() {
        return Err(format!("there is no file {}", path.display()));
    }
    entry.context.note_file(path.clone());
    Ok(path)
}

/// A secret from a file, without its trailing line end.
pub(super) fn secret_file(entry: &Entry<'_>, node: &Node) -> Result<SecretString, String> {
    let path = file(entry, node)?;
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() {
        return Err(format!("{} is empty", path.display()));
    }
    Ok(SecretString::from(secret.to_owned()))
}

/// A secret that must come from the environment: a text that is written out is refused, as a default too.
pub(super) fn secret_reference(entry: &Entry<'_>, node: &Node) -> Result<SecretString, String> {
    let name = match &node.value {
        Value::Text(raw) => raw.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')),
        _ => None,
    };
    let plain = |name: &&str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    match name.filter(plain).map(|name| (name, entry.context.variable(name))) {
        Some((_, Some(value))) if !value.is_empty() => Ok(SecretString::from(value)),
        Some((name, _)) => Err(format!("the environment variable {name} is not set or empty")),
        None => Err("a secret is never written out here: use ${NAME} or the key with `_file`".to_owned()),
    }
}

pub(super) fn socket(entry: &Entry<'_>, node: &Node) -> Result<SocketAddr, String> {
    let written = text(entry, node)?;
    written.parse().map_err(|_| "expected an address and port, such as 127.0.0.1:8443".to_owned())
}

pub(super) fn ip(entry: &Entry<'_>, node: &Node) -> Result<IpAddr, String> {
    text(entry, node)?.parse().map_err(|_| "expected an IP address".to_owned())
}

pub(super) fn jurisdiction(entry: &Entry<'_>, node: &Node) -> Result<Jurisdiction, String> {
    Jurisdiction::parse(&text(entry, node)?).map_err(|error| error.to_string())
}

/// Scopes as one text or as a list of texts.
pub(super) fn scopes(entry: &Entry<'_>, node: &Node) -> Result<ScopeSet, String> {
    let written = match &node.value {
        Value::List(items) => {
            let items: Result<Vec<String>, String> = items.iter().map(|item| text(entry, item)).collect();
            items?.join(" ")
        }
        _ => text(entry, node)?,
    };
    ScopeSet::parse(&written).map_err(|error| error.to_string())
}

/// An `https` base URL without query, fragment, credentials or trailing slash; `http` on loopback only.
pub(super) fn base_url(entry: &Entry<'_>, node: &Node) -> Result<String, String> {
    let written = text(entry, node)?;
    let uri: http::Uri = written.parse().map_err(|_| "expected a URL".to_owned())?;
    let host = uri.host().ok_or("expected a URL with a host")?;
    let loopback = is_loopback(host);
    match uri.scheme_str() {
        Some("https") => {}
        Some("http") if loopback => {}
        _ => return Err("expected https:// (http:// is for loopback only)".to_owned()),
    }
    let plain = !written.contains(['?', '#', '@']) && !written.ends_with('/');
    if plain { Ok(written) } else { Err("expected no query, fragment, credentials or trailing slash".to_owned()) }
}

pub(super) fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// One of a closed set of words.
pub(super) fn one_of<T: Copy>(words: &'static [(&'static str, T)]) -> impl Fn(&Entry<'_>, &Node) -> Result<T, String> {
    move |entry, node| {
        let written = text(entry, node)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == written) {
            return Ok(*value);
        }
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let hint = super::did_you_mean(&written, names.iter().copied());
        let hint = hint.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        Err(format!("expected one of {}{hint}", names.join(", ")))
    }
}
