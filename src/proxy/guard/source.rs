//! Where does a request really come from, when it came through proxies?

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;

use crate::front::{ProxyField, TrustedProxies};

/// The nearest address that is not a trusted proxy. Only a trusted peer's word is taken, and only back to the first
/// hop that is not trusted: what that one claims of others is anybody's invention.
pub(super) fn of(headers: &HeaderMap, peer: IpAddr, trusted: &TrustedProxies) -> IpAddr {
    let mut nearest = peer.to_canonical();
    if !trusted.includes(nearest) {
        return nearest;
    }
    for hop in hops(headers, trusted.field).into_iter().rev() {
        let Some(address) = hop else { break }; // Unreadable or hidden: the hop before it is all we know.
        nearest = address;
        if !trusted.includes(address) {
            break;
        }
    }
    nearest
}

/// Addresses as the proxies noted them, the farthest first.
fn hops(headers: &HeaderMap, field: ProxyField) -> Vec<Option<IpAddr>> {
    let (name, read): (_, fn(&str) -> Option<IpAddr>) = match field {
        ProxyField::XForwardedFor => ("x-forwarded-for", node),
        ProxyField::Forwarded => ("forwarded", forwarded_for),
    };
    // A line that is no text hides its hops as an item that is no address does.
    let lines = headers.get_all(name).iter().map(|value| value.to_str().unwrap_or("?"));
    lines.flat_map(|line| line.split(',')).map(|item| read(item.trim())).collect()
}

/// RFC 7239 §4: `for=192.0.2.1`, `for="[2001:db8::1]:4711"`, among other parameters.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then(|| node(value.trim().trim_matches('"'))).flatten()
    })
}

fn node(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().or_else(|_| text.parse::<SocketAddr>().map(|node| node.ip())).ok()?;
    Some(IpAddr::to_canonical(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_trusted_proxy_is_believed_and_only_about_its_own_neighbour() {
        let addresses: Vec<IpAddr> = ["10.0.0.1", "10.0.0.2"].map(|text| text.parse().unwrap()).to_vec();
        for (name, peer, field, value, expected) in [
            ("no proxy", "192.0.2.1", "x-forwarded-for", "198.51.100.1", "192.0.2.1"),
            ("one proxy", "10.0.0.1", "x-forwarded-for", "198.51.100.1", "198.51.100.1"),
            ("two proxies", "10.0.0.1", "x-forwarded-for", "198.51.100.1, 10.0.0.2", "198.51.100.1"),
            ("a forged first hop", "10.0.0.1", "x-forwarded-for", "203.0.113.9, 198.51.100.1", "198.51.100.1"),
            ("unreadable", "10.0.0.1", "x-forwarded-for", "203.0.113.9, ??", "10.0.0.1"),
            ("nothing said", "10.0.0.1", "x-other", "", "10.0.0.1"),
            ("forwarded", "10.0.0.1", "forwarded", "for=198.51.100.1;proto=https", "198.51.100.1"),
            ("forwarded v6", "10.0.0.1", "forwarded", "proto=https; For=\"[2001:db8::1]:47\"", "2001:db8::1"),
            ("forwarded hidden", "10.0.0.1", "forwarded", "for=_hidden", "10.0.0.1"),
            ("mapped", "::ffff:10.0.0.1", "x-forwarded-for", "198.51.100.1:80", "198.51.100.1"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(field, value.parse().unwrap());
            let written = if field == "forwarded" { ProxyField::Forwarded } else { ProxyField::XForwardedFor };
            let trusted = TrustedProxies { addresses: addresses.clone(), field: written };
            let source = of(&headers, peer.parse().unwrap(), &trusted);
            assert_eq!(source, expected.parse::<IpAddr>().unwrap(), "{name}");
        }
    }

    #[test]
    fn the_field_that_the_proxies_do_not_write_says_nothing() {
        let mut headers = HeaderMap::new();
        headers.insert("forwarded", "for=203.0.113.9".parse().unwrap());
        headers.insert("x-forwarded-for", "198.51.100.1".parse().unwrap());
        let proxy: IpAddr = "10.0.0.1".parse().unwrap();
        for (field, expected) in [(ProxyField::XForwardedFor, "198.51.100.1"), (ProxyField::Forwarded, "203.0.113.9")] {
            let trusted = TrustedProxies { addresses: vec![proxy], field };
            assert_eq!(of(&headers, proxy, &trusted).to_string(), expected);
        }
    }
}
