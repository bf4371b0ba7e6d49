//! An issuer of tokens as GitHub and GitLab are: a discovery document, a JWK Set, and keys that are changed.

use super::ports;
use super::tls::Certificate;
use super::wait::{SOON, eventually};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Child;
use tokio::task::JoinHandle;

/// A key that signs.
pub struct SigningKey {
    kind: Kind,
    /// The public half in PEM.
    pub public_pem: String,
}

enum Kind {
    Rsa(Box<RsaKeyPair>),
    Ec(Box<EcdsaKeyPair>),
}

impl SigningKey {
    pub fn rsa() -> Self {
        let pem = openssl(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"], "");
        let key = RsaKeyPair::from_pkcs8(&der(&pem)).expect("an RSA key");
        Self { kind: Kind::Rsa(Box::new(key)), public_pem: openssl(&["pkey", "-pubout"], &pem) }
    }

    pub fn ec() -> Self {
        let pem = openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"], "");
        let key =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der(&pem), &SystemRandom::new());
        let key = key.expect("a key on P-256");
        Self { kind: Kind::Ec(Box::new(key)), public_pem: openssl(&["pkey", "-pubout"], &pem) }
    }

    pub fn algorithm(&self) -> &'static str {
        match self.kind {
            Kind::Rsa(_) => "RS256",
            Kind::Ec(_) => "ES256",
        }
    }

    /// A token with that header and those claims.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let message = message(header, claims);
        let (bytes, random) = (message.as_bytes(), SystemRandom::new());
        let signature = match &self.kind {
            Kind::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, bytes, &mut signature).expect("RSA signs");
                signature
            }
            Kind::Ec(key) => key.sign(&random, bytes).expect("ECDSA signs").as_ref().to_vec(),
        };
        format!("{message}.{}", encode(signature))
    }

    fn jwk(&self, id: &str) -> Value {
        match &self.kind {
            Kind::Rsa(key) => {
                let public = PublicKeyComponents::<Vec<u8>>::from(key.public());
                let (n, e) = (encode(public.n), encode(public.e));
                json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": id, "n": n, "e": e})
            }
            Kind::Ec(key) => {
                let (x, y) = key.public_key().as_ref()[1..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "use": "sig", "kid": id, "x": encode(x), "y": encode(y)})
            }
        }
    }
}

/// A token signed with a shared secret.
pub fn sign_hs256(secret: &[u8], claims: &Value) -> String {
    let message = message(&json!({"typ": "JWT", "alg": "HS256"}), claims);
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
    format!("{message}.{}", encode(signature.as_ref()))
}

/// Header and claims as they are signed.
pub fn message(header: &Value, claims: &Value) -> String {
    format!("{}.{}", encode(header.to_string()), encode(claims.to_string()))
}

pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The moment so many seconds from now, as tokens have it.
pub fn in_seconds(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    now.cast_signed() + seconds
}

/// Puts these members over the others.
pub fn with(mut claims: Value, over: Value) -> Value {
    let Value::Object(over) = over else { panic!("claims are an object") };
    for (name, value) in over {
        claims[name] = value;
    }
    claims
}

pub struct Issuer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    serving: JoinHandle<()>,
}

struct State {
    key: Arc<SigningKey>,
    key_id: String,
    /// What the discovery document says; None = the truth.
    says: Option<String>,
    is_down: bool,
    /// What it answers instead of the keys, as it goes on the wire; an empty text never comes.
    instead: Option<String>,
    fetches: usize,
}

impl Issuer {
    pub async fn start() -> Self {
        Self::start_with(SigningKey::rsa()).await
    }

    pub async fn start_with(key: SigningKey) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let state = State {
            key: key.into(),
            key_id: "1".into(),
            says: None,
            is_down: false,
            instead: None,
            fetches: 0,
        };
        let state = Arc::new(Mutex::new(state));
        let serving = tokio::spawn(serve(listener, address, state.clone()));
        Self { address, state, serving }
    }

    pub fn url(&self) -> String {
        url(self.address)
    }

    pub fn jwks_url(&self) -> String {
        format!("{}/keys", self.url())
    }

    /// Signs with the key of now.
    pub fn sign(&self, claims: &Value) -> String {
        let (key, header) = self.key();
        key.sign(&header, claims)
    }

    /// The key of now, and the header of its tokens.
    pub fn key(&self) -> (Arc<SigningKey>, Value) {
        let state = self.state();
        let header = json!({"typ": "JWT", "alg": state.key.algorithm(), "kid": state.key_id});
        (state.key.clone(), header)
    }

    /// Signs with another key from now on; the old one is published no more.
    pub fn rotate(&self, key_id: &str) {
        let key = SigningKey::rsa();
        let mut state = self.state();
        (state.key, state.key_id) = (key.into(), key_id.into());
    }

    /// Answers 500 to everything, or no longer.
    pub fn set_down(&self, is_down: bool) {
        self.state().is_down = is_down;
    }

    /// Has the discovery document name another issuer.
    pub fn pretend(&self, other: &str) {
        self.state().says = Some(other.to_owned());
    }

    /// Answers this instead of the keys; to an empty text, never.
    pub fn answer_instead(&self, answer: &str) {
        self.state().instead = Some(answer.to_owned());
    }

    /// How often the keys were asked for.
    pub fn fetches(&self) -> usize {
        self.state().fetches
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("not poisoned")
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

async fn serve(listener: TcpListener, address: SocketAddr, state: Arc<Mutex<State>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let state = state.clone();
        tokio::spawn(async move { answer(stream, address, &state).await });
    }
}

async fn answer(mut stream: TcpStream, address: SocketAddr, state: &Mutex<State>) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default();
    let instead = state.lock().expect("not poisoned").instead.clone().filter(|_| path == "/keys");
    if let Some(instead) = instead {
        stream.write_all(instead.as_bytes()).await?;
        // Until the asker gives up.
        return stream.read_u8().await.map(drop);
    }
    let (status, body) = content(path, address, &mut state.lock().expect("not poisoned"));
    let length = body.len();
    let answer =
        format!("HTTP/1.1 {status} x\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    stream.write_all(answer.as_bytes()).await
}

fn content(path: &str, address: SocketAddr, state: &mut State) -> (u16, String) {
    if path == "/keys" {
        state.fetches += 1;
    }
    let body = match path {
        _ if state.is_down => return (500, "down".into()),
        "/.well-known/openid-configuration" => {
            let issuer = state.says.clone().unwrap_or_else(|| url(address));
            json!({"issuer": issuer, "jwks_uri": format!("{}/keys", url(address))})
        }
        // Beside the key in use stand such as no token may be verified with.
        "/keys" => json!({"keys": [
            {"kty": "oct", "kid": state.key_id, "k": encode("a secret that anyone can read here")},
            {"kty": "new", "kid": state.key_id},
            state.key.jwk(&state.key_id),
        ]}),
        _ => return (404, "nothing".into()),
    };
    (200, body.to_string())
}

/// An issuer's JWK Set behind https, served by openssl.
pub struct SecureKeys {
    port: u16,
    _folder: TempDir,
    _server: Child,
}

impl SecureKeys {
    /// The keys of now of that issuer.
    pub async fn start(certificate: &Certificate, issuer: &Issuer) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let (key, header) = issuer.key();
        let keys = json!({"keys": [key.jwk(header["kid"].as_str().expect("a text"))]});
        std::fs::write(folder.path().join("keys"), keys.to_string()).expect("it can be written");
        let port = ports::free();
        let server = tokio::process::Command::new("openssl")
            .args(["s_server", "-quiet", "-WWW", "-accept", &format!("127.0.0.1:{port}")])
            .args(["-cert", &certificate.cert, "-key", &certificate.key])
            .current_dir(folder.path())
            .kill_on_drop(true)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl is installed");
        eventually(SOON, "openssl listens", async || {
            TcpStream::connect(("127.0.0.1", port)).await.map(drop).map_err(|error| error.to_string())
        })
        .await;
        Self { port, _folder: folder, _server: server }
    }

    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}/keys", self.port)
    }
}

fn der(pem: &str) -> Vec<u8> {
    pem::parse(pem).expect("openssl writes PEM").into_contents()
}

/// What openssl answers to that input.
fn openssl(arguments: &[&str], input: &str) -> String {
    let mut child = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl is installed");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("PEM is text")
}
