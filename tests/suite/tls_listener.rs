//! TLS on the public listener, and a certificate that is changed while the node runs.

use crate::support::http::Request;
use crate::support::node::{KEY, Node, Setup, refresh};
use crate::support::program::{self, environment, run};
use crate::support::socket::{Ending, REFRESH, Socket};
use crate::support::tls::{Authority, Certificate};
use crate::support::tunnel::{shake, trusting};
use crate::support::wait::{SOON, equal, eventually};
use nix::sys::signal::Signal;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::version::{TLS12, TLS13};
use rustls::{ProtocolVersion, SupportedProtocolVersion};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const ROOM: &str = "featurevisor";
const HERE: &str = "IP:127.0.0.1,DNS:localhost";

/// A node on the memory broker whose certificate an authority of the test signed.
async fn node_with(authority: &Arc<Authority>, setup: impl FnOnce(Setup) -> Setup) -> Node {
    let certificate = authority.sign("node", HERE);
    setup(Setup::memory().under_tls(authority, &certificate)).start().await
}

fn authority() -> Arc<Authority> {
    Arc::new(Authority::new())
}

/// Connects with these versions of TLS and these application protocols.
async fn connect(
    node: &Node,
    authority: &Authority,
    versions: &[&'static SupportedProtocolVersion],
    protocols: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut config = trusting(&authority.ca(), versions);
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(node.tunnel().exit).await?;
    shake(stream, &TlsConnector::from(Arc::new(config))).await
}

#[tokio::test]
async fn apps_connect_by_wss_and_ci_publishes_by_https() {
    let authority = authority();
    // It says that this wire cannot be had.
    let node = node_with(&authority, |setup| setup.set("websocket.wire", "direct")).await;
    let mut socket = node.connect(ROOM).await;
    assert_eq!(node.party(ROOM).await.body, "Message sent to 1 connected participants");
    socket.expect_frame(REFRESH).await;
    let answer = node.refresh(ROOM).await;
    assert_eq!((answer.status, &answer.json()["connections"]), (200, &1.into()), "{answer:?}");
    socket.expect_frame(REFRESH).await;
    socket.expect_alive().await;

    let log = node.log();
    let listening = log.iter().find(|line| line["message"] == "listening").expect("it listens");
    assert_eq!(listening["scheme"], "https", "{listening}");
    let tells_the_wire =
        |line: &&serde_json::Value| line["message"].as_str().unwrap().contains("actix-ws wire");
    assert_eq!(log.iter().filter(tells_the_wire).count(), 1, "{log:#?}");
    let expiry = node.metric("relay_tls_certificate_expiry_timestamp_seconds", &[]).await;
    let in_days = (expiry - std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64()) / 86_400.0;
    assert!((1.0..=2.0).contains(&in_days), "a certificate for 2 days expires in {in_days} days");
}

#[tokio::test]
async fn the_first_steps_name_the_addresses_under_tls() {
    let node =
        node_with(&authority(), |setup| setup.unset("publish.secret").set("server.bind", "0.0.0.0:0")).await;
    let output = eventually(SOON, "it prints the first steps", async || {
        let output = node.output();
        if output.contains("curl ") { Ok(output) } else { Err(output) }
    })
    .await;
    let port = node.tunnel().exit.port();
    assert!(output.contains(&format!("wss://localhost:{port}/party/featurevisor")), "{output}");
    assert!(output.contains(&format!("https://localhost:{port}/v1/rooms/featurevisor/refresh")), "{output}");
}

#[tokio::test]
async fn the_commands_trust_the_authority_they_are_told_of() {
    let authority = authority();
    let node = node_with(&authority, |setup| setup).await;
    let files = program::Files::new();
    let (key, ca, address) = (files.write("key", KEY), authority.ca(), node.tunnel().exit);
    let (wss, https) = (format!("wss://{address}/party/{ROOM}"), format!("https://{address}"));
    let publish = ["publish", "--url", &https, "--room", ROOM, "--key-file", &key];
    let watch = ["watch", "--url", &wss, "--publish-url", &https, "--room", ROOM, "--key-file", &key];
    let check = ["healthcheck", "--url", &https];
    let no_settings = environment(&[]);
    for command in [publish.as_slice(), &watch] {
        let stranger = run(command, &no_settings).await.expect_code(1);
        assert!(stranger.stderr.to_lowercase().contains("issuer"), "{stranger:#?}");
        let told = run(&[command, &["--ca-file", &ca]].concat(), &no_settings).await.expect_code(0);
        assert!(told.stdout.contains("refresh") || told.stdout.contains("position"), "{told:#?}");
    }
    // The public listener answers it, and has no such page.
    let told = run(&[check.as_slice(), &["--ca-file", &ca]].concat(), &no_settings).await.expect_code(1);
    assert!(told.stderr.contains("404"), "{told:#?}");
    let missing = run(&[publish.as_slice(), &["--ca-file", "/nowhere/ca.crt"]].concat(), &no_settings)
        .await
        .expect_code(1);
    assert!(missing.stderr.contains("/nowhere/ca.crt"), "{missing:#?}");
    let wrong = run(&[publish.as_slice(), &["--ca-file", &key]].concat(), &no_settings).await.expect_code(1);
    assert!(wrong.stderr.contains("holds no certificate"), "{wrong:#?}");
}

#[tokio::test]
async fn the_oldest_version_of_tls_can_be_set() {
    let authority = authority();
    let either = node_with(&authority, |setup| setup).await;
    for (version, spoken) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)] {
        let stream = connect(&either, &authority, &[version], &[]).await.expect("it is spoken");
        assert_eq!(stream.get_ref().1.protocol_version(), Some(spoken));
    }
    let newest = node_with(&authority, |setup| setup.set("server.tls.min_version", "1.3")).await;
    connect(&newest, &authority, &[&TLS13], &[]).await.expect("it is spoken");
    let refused = connect(&newest, &authority, &[&TLS12], &[]).await.expect_err("it is too old");
    assert!(refused.to_string().contains("ProtocolVersion"), "{refused}");
    newest.until_metric("relay_tls_handshakes_failed_total", &[("reason", "protocol")], 1.0).await;
}

#[tokio::test]
async fn only_http_1_1_is_offered() {
    let authority = authority();
    let node = node_with(&authority, |setup| setup).await;
    let stream = connect(&node, &authority, rustls::ALL_VERSIONS, &["h2", "http/1.1"]).await;
    assert_eq!(stream.expect("agreed").get_ref().1.alpn_protocol(), Some(b"http/1.1".as_slice()));
    let refused = connect(&node, &authority, rustls::ALL_VERSIONS, &["h2"]).await.expect_err("not spoken");
    assert!(refused.to_string().contains("NoApplicationProtocol"), "{refused}");
}

#[tokio::test]
async fn a_pair_that_cannot_be_used_is_a_problem_with_the_settings() {
    let authority = Authority::new();
    let (good, other) = (authority.sign("good", HERE), authority.sign("other", HERE));
    let expired = authority.sign_expired("expired", HERE);
    let files = program::Files::new();
    let (nothing, garbage) = (files.write("nothing", "\n"), files.write("garbage", "not PEM at all"));
    let broken = files.write("broken", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let locked = files.write(
        "locked",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\n####\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let (cert, key) = ("server.tls.cert_file", "server.tls.key_file");
    for (cert_file, key_file, at_fault, file, why) in [
        (&expired.cert, &expired.key, cert, &expired.cert, "expired at"),
        (&good.cert, &other.key, key, &other.key, "does not belong to"),
        (&nothing, &good.key, cert, &nothing, "holds no certificate"),
        (&broken, &good.key, cert, &broken, "cannot be read"),
        (&good.cert, &garbage, key, &garbage, "holds no private key"),
        (&good.cert, &good.cert, key, &good.cert, "holds no private key"),
        (&good.cert, &locked, key, &locked, "encrypted"),
    ] {
        for command in ["serve", "check-config"] {
            let finished = run(&[command], &environment(&[(cert, cert_file), (key, key_file)])).await;
            let finished = finished.expect_code(78);
            let line = finished.stderr.lines().find(|line| line.contains(at_fault)).unwrap_or_default();
            assert!(line.contains(file.as_str()) && line.contains(why), "wanted {why}: {finished:#?}");
        }
    }
    let alone = run(&["serve"], &environment(&[(cert, &good.cert)])).await.expect_code(78);
    assert!(alone.stderr.contains("needs server.tls.key_file beside it"), "{alone:#?}");
    let settings = [(cert, "/nowhere/tls.crt"), (key, good.key.as_str()), ("server.tls.min_version", "1.1")];
    let several = run(&["serve"], &environment(&settings)).await.expect_code(78);
    assert!(several.stderr.contains("/nowhere/tls.crt"), "{several:#?}");
    assert!(several.stderr.contains("must be 1.2 or 1.3"), "{several:#?}");
}

#[tokio::test]
async fn what_is_no_tls_gets_a_closed_connection_and_the_node_goes_on() {
    let node = node_with(&authority(), |setup| setup).await;
    let mut socket = node.connect(ROOM).await;
    let plain = refresh(ROOM).encode(node.tunnel().exit);
    let noise: Vec<u8> = (0..100_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    // A record of TLS that promises more than may be in one, and one that holds no handshake.
    let records = [&b"\x16\x03\x01\xff\xff"[..], b"\x17\x03\x03\x00\x04\x00\x00\x00\x00"];
    for (index, bytes) in [plain.as_slice(), &noise, records[0], records[1]].into_iter().enumerate() {
        let mut stream = TcpStream::connect(node.tunnel().exit).await.expect("the node accepts");
        // The node may close before it has read it all.
        let _written_or_closed = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let read = timeout(SOON, stream.read_to_end(&mut answer)).await.expect("the node closes");
        let is_alert = matches!(answer.as_slice(), [] | [0x15, 3, _, 0, 2, _, _]);
        assert!(is_alert, "an alert of TLS at most, not {:?} ({read:?})", String::from_utf8_lossy(&answer));
        let failed = [("reason", "protocol")];
        node.until_metric("relay_tls_handshakes_failed_total", &failed, (index + 1) as f64).await;
    }
    let stream = TcpStream::connect(node.tunnel().exit).await.expect("the node accepts");
    drop(stream);
    node.until_metric("relay_tls_handshakes_failed_total", &[("reason", "gone")], 1.0).await;
    assert_eq!(node.metric("relay_publishes_total", &[("api", "v1"), ("result", "ok")]).await, 0.0);
    assert_eq!(node.refresh(ROOM).await.status, 200);
    socket.expect_frame(REFRESH).await;
}

#[tokio::test]
async fn a_client_that_never_finishes_its_handshake_is_dropped_in_time() {
    let node = node_with(&authority(), |setup| setup.set("server.tls.handshake_timeout_seconds", 1)).await;
    let mut stalled = Vec::new();
    // Silent from the start, and after the first bytes of a handshake.
    for bytes in [&b""[..], b"\x16\x03\x01\x02\x00\x01"] {
        let mut stream = TcpStream::connect(node.tunnel().exit).await.expect("the node accepts");
        stream.write_all(bytes).await.expect("written");
        stalled.push(stream);
    }
    for mut stream in stalled {
        let ended = timeout(SOON, stream.read_to_end(&mut Vec::new())).await;
        ended.expect("it is dropped in time").ok();
    }
    node.until_metric("relay_tls_handshakes_failed_total", &[("reason", "timeout")], 2.0).await;
    assert_eq!(node.refresh(ROOM).await.status, 200);
}

#[tokio::test]
async fn many_stalled_handshakes_keep_nobody_else_out() {
    let patient =
        |setup: Setup| setup.set("server.tls.handshake_timeout_seconds", 600).set("server.workers", 1);
    let node = node_with(&authority(), patient).await;
    let mut stalled = Vec::new();
    for _ in 0..600 {
        stalled.push(TcpStream::connect(node.tunnel().exit).await.expect("the node accepts"));
    }
    let mut socket = node.connect(ROOM).await;
    assert_eq!(node.refresh(ROOM).await.status, 200);
    socket.expect_frame(REFRESH).await;
}

#[tokio::test]
async fn a_drain_closes_sockets_under_tls_with_1012_and_a_close_notify() {
    let soon = |setup: Setup| setup.set("drain.notice_seconds", 0).set("drain.spread_seconds", 1);
    let mut node = node_with(&authority(), soon).await;
    let mut sockets = node.connect_many(ROOM, 20).await;
    node.sigterm();
    for socket in &mut sockets {
        assert_eq!(socket.ended_within(SOON).await.1, Ending::Close(Some(1012)));
    }
    assert_eq!(node.exit_within(SOON).await.code(), Some(0));
    eventually(SOON, "the tunnel has seen every end", async || {
        let seen = node.tunnel().seen();
        equal("endings", &(seen.ended, seen.cut_short), &(20, 0))
    })
    .await;
}

/// The two files that a node reads, changed as people and Kubernetes do.
struct Live {
    folder: TempDir,
    swaps: usize,
}

impl Live {
    fn new(first: &Certificate) -> Self {
        let live = Self { folder: TempDir::new().expect("a temporary folder"), swaps: 0 };
        live.replace(first);
        live
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn certificate(&self) -> Certificate {
        let text = |name| self.path(name).display().to_string();
        Certificate { cert: text("tls.crt"), key: text("tls.key") }
    }

    /// One file after the other: between the two they do not belong together.
    fn replace(&self, new: &Certificate) {
        for (name, from) in [("tls.key", &new.key), ("tls.crt", &new.cert)] {
            fs::copy(from, self.path("new")).expect("copied");
            fs::rename(self.path("new"), self.path(name)).expect("renamed");
        }
    }

    /// As a Secret's volume is laid out: the files lead through `..data`, which is swapped in one step.
    fn swap(&mut self, new: &Certificate) {
        self.swaps += 1;
        let version = format!("..2026_{}", self.swaps);
        fs::create_dir(self.path(&version)).expect("made");
        for (name, from) in [("tls.key", &new.key), ("tls.crt", &new.cert)] {
            fs::copy(from, self.path(&version).join(name)).expect("copied");
        }
        self.link(Path::new(&version), "..data");
        for name in ["tls.key", "tls.crt"] {
            self.link(&Path::new("..data").join(name), name);
        }
    }

    fn link(&self, to: &Path, name: &str) {
        symlink(to, self.path("new")).expect("linked");
        fs::rename(self.path("new"), self.path(name)).expect("renamed");
    }
}

fn der(certificate: &Certificate) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(&certificate.cert).expect("PEM")
}

/// Waits until new handshakes see that certificate.
async fn until_shown(node: &Node, certificate: &Certificate) {
    eventually(SOON, "new handshakes see the new certificate", async || {
        Request::get("/").send(node.public).await;
        let shown = node.tunnel().seen().certificates.last().cloned();
        equal("the certificate", &shown, &Some(der(certificate)))
    })
    .await;
}

/// Publishes every 20 ms until told to stop, and panics when one fails; gives how many there were.
fn publishing(node: &Node, stop: &Arc<AtomicBool>) -> JoinHandle<usize> {
    let (entrance, stop) = (node.public, Arc::clone(stop));
    tokio::spawn(async move {
        let mut count = 0;
        while !stop.load(Ordering::Relaxed) {
            let answer = refresh(ROOM).send(entrance).await;
            assert_eq!(answer.status, 200, "publish {count}: {answer:?}");
            count += 1;
            sleep(Duration::from_millis(20)).await;
        }
        count
    })
}

#[tokio::test]
async fn the_certificate_changes_under_load_without_a_failed_publish_or_a_dropped_socket() {
    let authority = authority();
    let certificates: Vec<_> = (0..6).map(|n| authority.sign(&format!("node-{n}"), HERE)).collect();
    let mut live = Live::new(&certificates[0]);
    let node = Setup::memory().under_tls(&authority, &live.certificate()).start().await;
    let mut sockets = node.connect_many(ROOM, 10).await;
    let stop = Arc::new(AtomicBool::new(false));
    let publishers = [publishing(&node, &stop), publishing(&node, &stop)];

    live.replace(&certificates[1]);
    until_shown(&node, &certificates[1]).await;
    live.replace(&certificates[2]);
    node.signal(Signal::SIGHUP);
    until_shown(&node, &certificates[2]).await;
    for certificate in &certificates[3..] {
        live.swap(certificate);
        until_shown(&node, certificate).await;
    }

    stop.store(true, Ordering::Relaxed);
    let mut published = 0;
    for publisher in publishers {
        let count = publisher.await.expect("no publish failed");
        assert!(count > 10, "one publisher came to {count} publishes only");
        published += count;
    }
    for socket in &mut sockets {
        socket.expect_alive().await;
    }
    let metrics = node.metrics().await;
    assert_eq!(metrics.value("relay_connections_opened_total", &[]), 10.0);
    assert_eq!(metrics.value("relay_connections", &[]), 10.0);
    let ok = [("api", "v1"), ("result", "ok")];
    assert_eq!(metrics.value("relay_publishes_total", &ok), published as f64);
    let seen = node.tunnel().seen();
    assert_eq!((seen.failures, seen.cut_short), (vec![], 0));
    assert_eq!(metrics.value("relay_reload_failing", &[("file", "certificate")]), 0.0);
}

#[tokio::test]
async fn a_bad_new_certificate_keeps_the_old_one_and_shows() {
    let authority = authority();
    let [first, other, last] = ["first", "other", "last"].map(|name| authority.sign(name, HERE));
    let expired = authority.sign_expired("expired", HERE);
    let mut live = Live::new(&first);
    let node = Setup::memory().under_tls(&authority, &live.certificate()).start().await;
    let mut socket = node.connect(ROOM).await;
    let failing = [("file", "certificate")];
    let expiry = node.metric("relay_tls_certificate_expiry_timestamp_seconds", &[]).await;
    let mismatched = Certificate { cert: other.cert.clone(), key: last.key.clone() };
    for (bad, why) in [(&expired, "expired at"), (&mismatched, "does not belong to")] {
        live.swap(bad);
        eventually(SOON, "/status tells why", async || {
            let file = node.status().await["files"][0].clone();
            let told = file["error"].as_str().is_some_and(|error| error.contains(why));
            if told && file["name"] == "certificate" { Ok(()) } else { Err(format!("wanted {why}: {file}")) }
        })
        .await;
        assert_eq!(node.metric("relay_reload_failing", &failing).await, 1.0);
        until_shown(&node, &first).await;
        socket.expect_alive().await;
    }
    let failed = [("file", "certificate"), ("result", "failed")];
    assert_eq!(node.metric("relay_reloads_total", &failed).await, 2.0);
    assert_eq!(node.metric("relay_tls_certificate_expiry_timestamp_seconds", &[]).await, expiry);

    live.swap(&last);
    until_shown(&node, &last).await;
    assert_eq!(node.metric("relay_reload_failing", &failing).await, 0.0);
    assert!(node.status().await["files"][0]["error"].is_null());
    socket.expect_alive().await;
    let mut newcomer: Socket = node.connect(ROOM).await;
    newcomer.expect_alive().await;
}
