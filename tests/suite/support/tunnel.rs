//! A plain way into a node under TLS: what connects here goes on in a TLS connection of its own, so that every client of the
//! suite can be used, and what TLS alone shows is kept.

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncWriteExt, copy, split};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub struct Tunnel {
    /// Where plain connections are taken.
    pub entrance: SocketAddr,
    /// The node's own listener.
    pub exit: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    taking: JoinHandle<()>,
}

/// What happened in the tunnel so far.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The certificate at each handshake that succeeded.
    pub certificates: Vec<CertificateDer<'static>>,
    /// Why handshakes failed.
    pub failures: Vec<String>,
    /// Connections that the node ended as TLS wants it, with a `close_notify`.
    pub ended: usize,
    /// Connections that the node ended without one.
    pub cut_short: usize,
}

impl Seen {
    /// Notes how what came from the node ended.
    fn note(&mut self, copied: &std::io::Result<u64>) {
        match copied {
            Ok(_) => self.ended += 1,
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => self.cut_short += 1,
            // A reset, by the one or the other.
            Err(_) => {}
        }
    }
}

impl Tunnel {
    /// Trusts that authority alone, and resumes no session: each connection shakes hands in full.
    pub async fn dig(exit: SocketAddr, ca: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let entrance = listener.local_addr().expect("a bound port");
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (connector, kept) =
            (TlsConnector::from(Arc::new(trusting(ca, rustls::ALL_VERSIONS))), Arc::clone(&seen));
        let taking = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, exit, connector.clone(), Arc::clone(&kept)));
            }
        });
        Self { entrance, exit, seen, taking }
    }

    pub fn seen(&self) -> Seen {
        self.seen.lock().expect("not poisoned").clone()
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.taking.abort();
    }
}

/// A client of TLS that trusts this authority and speaks these versions.
pub fn trusting(ca: &str, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(ca).expect("a certificate in PEM");
    roots.add(certificate).expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions);
    let mut config = config.expect("known versions").with_root_certificates(roots).with_no_client_auth();
    config.resumption = Resumption::disabled();
    config
}

/// Shakes hands with the node.
pub async fn shake(stream: TcpStream, connector: &TlsConnector) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::from(stream.peer_addr()?.ip());
    connector.connect(name, stream).await
}

/// One connection, from the address that the client comes from.
async fn pass(mut client: TcpStream, exit: SocketAddr, connector: TlsConnector, seen: Arc<Mutex<Seen>>) {
    let connected = async {
        let socket = TcpSocket::new_v4()?;
        socket.bind((client.peer_addr()?.ip(), 0).into())?;
        let stream = socket.connect(exit).await?;
        stream.set_nodelay(true)?;
        client.set_nodelay(true)?;
        shake(stream, &connector).await
    };
    let node = match connected.await {
        Ok(node) => node,
        Err(error) => return seen.lock().expect("not poisoned").failures.push(error.to_string()),
    };
    let certificate = node.get_ref().1.peer_certificates().and_then(<[_]>::first).cloned();
    seen.lock().expect("not poisoned").certificates.extend(certificate.map(CertificateDer::into_owned));
    let (mut from_node, mut to_node) = split(node);
    let (mut from_client, mut to_client) = client.split();
    let down = async {
        let copied = copy(&mut from_node, &mut to_client).await;
        seen.lock().expect("not poisoned").note(&copied);
        copied?;
        to_client.shutdown().await
    };
    let up = async {
        copy(&mut from_client, &mut to_node).await?;
        to_node.shutdown().await
    };
    let _ended_or_reset = tokio::try_join!(down, up);
}
