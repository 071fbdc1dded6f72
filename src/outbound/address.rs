//! Which addresses are plainly public (IANA special-purpose address registries, RFC 6890).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What is not globally reachable, is somebody's infrastructure, or means another address.
const REFUSED_V4: &[(Ipv4Addr, u32)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8), // "this network": connects to the host itself on many systems
    (Ipv4Addr::new(10, 0, 0, 0), 8), // private, RFC 1918
    (Ipv4Addr::new(100, 64, 0, 0), 10), // shared address space, RFC 6598; also metadata of some clouds
    (Ipv4Addr::new(127, 0, 0, 0), 8), // loopback
    (Ipv4Addr::new(168, 63, 129, 16), 32), // a cloud's host agent behind an address that looks public
    (Ipv4Addr::new(169, 254, 0, 0), 16), // link-local, RFC 3927; metadata of most clouds
    (Ipv4Addr::new(172, 16, 0, 0), 12), // private
    (Ipv4Addr::new(192, 0, 0, 0), 24), // protocol assignments, RFC 6890
    (Ipv4Addr::new(192, 0, 2, 0), 24), // documentation, RFC 5737
    (Ipv4Addr::new(192, 88, 99, 0), 24), // 6to4 relays, RFC 7526
    (Ipv4Addr::new(192, 168, 0, 0), 16), // private
    (Ipv4Addr::new(198, 18, 0, 0), 15), // benchmarks, RFC 2544
    (Ipv4Addr::new(198, 51, 100, 0), 24), // documentation
    (Ipv4Addr::new(203, 0, 113, 0), 24), // documentation
    (Ipv4Addr::new(224, 0, 0, 0), 4), // multicast
    (Ipv4Addr::new(240, 0, 0, 0), 4), // reserved, and the limited broadcast
];

/// Only these are global unicast at all (RFC 4291 §2.4, RFC 3587) …
const GLOBAL_V6: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// … and of these not:
const REFUSED_V6: &[(Ipv6Addr, u32)] = &[
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23), // protocol assignments: Teredo, ORCHID, benchmarks
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32), // documentation
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16), // 6to4: means an IPv4 address
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20), // documentation, RFC 9637
];

/// The well-known prefix of translators (RFC 6052): on an IPv6-only network every IPv4 host is behind it.
const TRANSLATED: (Ipv6Addr, u32) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

/// Whether anybody on the internet could be behind the address, and nobody else.
pub(super) fn is_public(address: IpAddr) -> bool {
    match plain(address) {
        IpAddr::V4(address) => !REFUSED_V4.iter().any(|(base, bits)| contains_v4(*base, *bits, address)),
        IpAddr::V6(address) => {
            contains_v6(GLOBAL_V6.0, GLOBAL_V6.1, address)
                && !REFUSED_V6.iter().any(|(base, bits)| contains_v6(*base, *bits, address))
        }
    }
}

/// Takes off the disguises in which an IPv6 address means an IPv4 one that a connection would really reach:
/// IPv4-mapped (RFC 4291 §2.5.5.2) and translated (RFC 6052).
pub(super) fn plain(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    if let Some(mapped) = v6.to_ipv4_mapped() {
        return IpAddr::V4(mapped);
    }
    if contains_v6(TRANSLATED.0, TRANSLATED.1, v6) {
        let [.., a, b, c, d] = v6.octets();
        return IpAddr::V4(Ipv4Addr::new(a, b, c, d));
    }
    address
}

/// Whether `address` is one of the network's. Both are compared without disguise.
pub(super) fn contains(base: IpAddr, bits: u32, address: IpAddr) -> bool {
    match (base, plain(address)) {
        (IpAddr::V4(base), IpAddr::V4(address)) => contains_v4(base, bits, address),
        (IpAddr::V6(base), IpAddr::V6(address)) => contains_v6(base, bits, address),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

fn contains_v4(base: Ipv4Addr, bits: u32, address: Ipv4Addr) -> bool {
    let mask = u32::MAX.checked_shl(32 - bits.min(32)).unwrap_or(0);
    base.to_bits() & mask == address.to_bits() & mask
}

fn contains_v6(base: Ipv6Addr, bits: u32, address: Ipv6Addr) -> bool {
    let mask = u128::MAX.checked_shl(128 - bits.min(128)).unwrap_or(0);
    base.to_bits() & mask == address.to_bits() & mask
}
