//! Which address a request comes from, behind proxies that are trusted to say so.

use std::net::{IpAddr, Ipv4Addr};

use actix_http::RequestHead;
use actix_web::http::header::HeaderValue;
use ipnet::IpNet;

/// The rightmost address that is not a trusted proxy: what stands left of it, anyone may have written.
pub fn client_address(head: &RequestHead, trusted: &[IpNet]) -> IpAddr {
    let peer = head.peer_addr.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip().to_canonical());
    // As bytes: a client that writes some which are no text must not have the whole line, proxies' part and all, ignored.
    let headers: Vec<&[u8]> = head.headers().get_all("x-forwarded-for").map(HeaderValue::as_bytes).collect();
    nearest_untrusted(peer, &headers, trusted)
}

fn nearest_untrusted(peer: IpAddr, forwarded: &[&[u8]], trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut nearest = peer;
    let hops = forwarded.iter().rev().flat_map(|header| header.rsplit(|byte| *byte == b','));
    for hop in hops {
        if !is_trusted(&nearest) {
            break;
        }
        match parse_hop(hop) {
            Some(address) => nearest = address,
            None => break,
        }
    }
    nearest
}

/// An address, perhaps with a port as some proxies add it.
fn parse_hop(hop: &[u8]) -> Option<IpAddr> {
    let hop = std::str::from_utf8(hop).ok()?.trim();
    let address = hop.parse::<IpAddr>().or_else(|_| hop.parse::<std::net::SocketAddr>().map(|a| a.ip()));
    address.ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(peer: &str, forwarded: &[&str]) -> String {
        let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let forwarded: Vec<&[u8]> = forwarded.iter().map(|line| line.as_bytes()).collect();
        nearest_untrusted(peer.parse().unwrap(), &forwarded, &trusted).to_string()
    }

    #[test]
    fn a_stranger_is_not_believed() {
        assert_eq!(address("192.0.2.1", &["198.51.100.7"]), "192.0.2.1");
    }

    #[test]
    fn behind_trusted_proxies_the_rightmost_stranger_is_the_client() {
        assert_eq!(address("10.0.0.1", &["1.1.1.1, 198.51.100.7, 10.0.0.2"]), "198.51.100.7");
        assert_eq!(address("10.0.0.1", &["1.1.1.1", "198.51.100.7:4711"]), "198.51.100.7");
        assert_eq!(address("10.0.0.1", &["[2001:db8::1]:443"]), "2001:db8::1");
    }

    #[test]
    fn what_is_no_address_ends_the_search() {
        assert_eq!(address("10.0.0.1", &["198.51.100.7, unknown"]), "10.0.0.1");
        assert_eq!(address("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn bytes_that_are_no_text_hide_nobody() {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let found = nearest_untrusted("10.0.0.1".parse().unwrap(), &[b"\xff, 198.51.100.7"], &trusted);
        assert_eq!(found.to_string(), "198.51.100.7");
    }
}
