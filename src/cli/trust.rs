//! Whom the commands that act as a client trust.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, ensure};
use clap::Args;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tungstenite::Connector;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::tls;

#[derive(Args, Default)]
pub struct Trust {
    /// Certificates in PEM of the authorities to trust instead of the system's.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

impl Trust {
    /// For ureq.
    pub fn for_http(&self) -> anyhow::Result<TlsConfig> {
        tls::use_ring();
        let roots = match self.authorities()? {
            Some(authorities) => {
                let authorities = authorities.iter().map(|one| Certificate::from_der(one).to_owned());
                RootCerts::Specific(Arc::new(authorities.collect()))
            }
            None => RootCerts::PlatformVerifier,
        };
        Ok(TlsConfig::builder().root_certs(roots).build())
    }

    /// For tungstenite; None stands for the system's authorities.
    pub fn for_websocket(&self) -> anyhow::Result<Option<Connector>> {
        tls::use_ring();
        let Some(authorities) = self.authorities()? else { return Ok(None) };
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots.add(authority).context("--ca-file holds a certificate that cannot be used")?;
        }
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Ok(Some(Connector::Rustls(Arc::new(config))))
    }

    fn authorities(&self) -> anyhow::Result<Option<Vec<CertificateDer<'static>>>> {
        let Some(file) = &self.ca_file else { return Ok(None) };
        let shown = file.display();
        let text = std::fs::read(file).with_context(|| format!("cannot read the file {shown}"))?;
        let authorities = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
        let authorities = authorities.with_context(|| format!("the file {shown} is not PEM"))?;
        ensure!(!authorities.is_empty(), "the file {shown} holds no certificate");
        Ok(Some(authorities))
    }
}
