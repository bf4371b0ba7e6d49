//! Certificates for one test, made with the `openssl` command.

use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// An authority of the test's own.
pub struct Authority {
    folder: TempDir,
}

/// The paths of a certificate and its key, PEM.
pub struct Certificate {
    pub cert: String,
    pub key: String,
}

const CONFIGURATION: &str = "\
[req]\ndistinguished_name = name\nprompt = no\n[name]\nCN = test\n\
[ca]\nbasicConstraints = critical, CA:TRUE\nkeyUsage = critical, keyCertSign, cRLSign\n\
[leaf]\nbasicConstraints = critical, CA:FALSE\nkeyUsage = critical, digitalSignature\n\
extendedKeyUsage = serverAuth, clientAuth\nsubjectAltName = $ENV::NAMES\n";

impl Authority {
    pub fn new() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        std::fs::write(folder.path().join("openssl.cnf"), CONFIGURATION).expect("it can be written");
        let authority = Self { folder };
        authority.make("ca", "ca", "DNS:none", &[]);
        authority
    }

    /// The path of the authority's own certificate.
    pub fn ca(&self) -> String {
        self.path("ca.crt")
    }

    /// A certificate for these names, such as `DNS:redis.test` or `IP:127.0.0.1`.
    pub fn sign(&self, file: &str, names: &str) -> Certificate {
        self.make(file, "leaf", names, &["-CA", &self.ca(), "-CAkey", &self.path("ca.key")])
    }

    /// One that has expired.
    pub fn sign_expired(&self, file: &str, names: &str) -> Certificate {
        let certificate = self.sign(file, names);
        let (ca, ca_key, request) = (self.ca(), self.path("ca.key"), self.path("request.pem"));
        let configuration = self.path("openssl.cnf");
        // `req` alone signs nothing that is over already.
        let request_it =
            ["req", "-new", "-key", &certificate.key, "-config", &configuration, "-out", &request];
        let sign_it = ["x509", "-req", "-in", &request, "-CA", &ca, "-CAkey", &ca_key, "-days", "-1"];
        let leaf = ["-extfile", &configuration, "-extensions", "leaf", "-out", &certificate.cert];
        openssl(&request_it, names);
        openssl(&[sign_it.as_slice(), &leaf].concat(), names);
        certificate
    }

    fn make(&self, file: &str, section: &str, names: &str, signer: &[&str]) -> Certificate {
        let made =
            Certificate { cert: self.path(&format!("{file}.crt")), key: self.path(&format!("{file}.key")) };
        let (subject, configuration) = (self.subject(file), self.path("openssl.cnf"));
        let key = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        let certificate = ["-days", "2", "-subj", &subject, "-extensions", section];
        let files = ["-config", &configuration, "-keyout", &made.key, "-out", &made.cert];
        openssl(&[key.as_slice(), &certificate, &files, signer].concat(), names);
        made
    }

    /// No two authorities have the same name, else one's certificate would seem badly signed and not unknown to the other.
    fn subject(&self, file: &str) -> String {
        let folder = self.folder.path().file_name().unwrap_or_default();
        format!("/CN={file} {}", folder.display())
    }

    fn path(&self, name: &str) -> String {
        Path::new(self.folder.path()).join(name).display().to_string()
    }
}

fn openssl(arguments: &[&str], names: &str) {
    let output =
        Command::new("openssl").args(arguments).env("NAMES", names).output().expect("openssl is installed");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
