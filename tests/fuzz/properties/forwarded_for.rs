//! The address of a client behind proxies. Input: the peer, the trusted networks with commas, then header lines.

use std::net::{IpAddr, SocketAddr};

use actix_http::RequestHead;
use actix_web::http::header::HeaderName;
use ipnet::IpNet;
use refresh_relay::ws::client_address;

const NAME: &str = "x-forwarded-for";

pub fn check(input: &[u8]) {
    let mut lines = super::lines(input);
    let mut text = || std::str::from_utf8(lines.next().unwrap_or_default()).unwrap_or_default();
    let Ok(peer) = text().parse::<IpAddr>() else { return };
    let trusted: Vec<IpNet> = text().split(',').filter_map(|network| network.parse().ok()).collect();
    let values: Vec<&[u8]> = lines.collect();
    let found = address(peer, &trusted, &values);

    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    let peer = peer.to_canonical();
    if found != peer {
        assert!(is_trusted(&peer), "a stranger was believed");
        assert!(hops(&values).contains(&found), "{found} stands nowhere");
    }
    if is_trusted(&found) {
        return;
    }
    // What stands left of it, anyone may have written: it changes nothing.
    for forged in [&b"198.51.100.99"[..], b"unknown", b"\xff", b""] {
        let mut first: Vec<u8> = forged.to_vec();
        let mut values = values.clone();
        if let Some(value) = values.first_mut() {
            first.push(b',');
            first.extend(*value);
            *value = &first;
        }
        if found != peer || !values.is_empty() {
            assert_eq!(address(peer, &trusted, &values), found);
        }
        assert_eq!(address(peer, &trusted, &[&[forged][..], &values].concat()), found);
    }
}

fn address(peer: IpAddr, trusted: &[IpNet], values: &[&[u8]]) -> IpAddr {
    let mut head = RequestHead::default();
    head.peer_addr = Some(SocketAddr::new(peer, 1));
    for (_, value) in super::headers(NAME, values) {
        head.headers.append(HeaderName::from_static(NAME), value);
    }
    client_address(&head, trusted)
}

/// All addresses in the headers.
fn hops(values: &[&[u8]]) -> Vec<IpAddr> {
    let texts = values.iter().flat_map(|value| value.split(|byte| *byte == b','));
    let texts = texts.filter_map(|hop| std::str::from_utf8(hop).ok()).map(str::trim);
    let addresses = texts.filter_map(|hop| {
        hop.parse::<IpAddr>().or_else(|_| hop.parse::<SocketAddr>().map(|address| address.ip())).ok()
    });
    addresses.map(|address| address.to_canonical()).collect()
}
