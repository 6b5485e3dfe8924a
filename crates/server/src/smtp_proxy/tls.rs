//! TLS towards a next hop: what a client configuration trusts.
//!
//! Opportunistic TLS keeps listeners out and proves nothing (RFC 7435): the certificate is not looked
//! at, because most servers between MTAs have none that could be, and the choice would be plain text.
//! Where TLS is required, the certificate has to be valid for the hop's name.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use rustls_platform_verifier::BuilderVerifierExt as _;
use thiserror::Error;

use crate::config::TlsFiles;

/// The configuration of a listener with STARTTLS, from its certificate and key.
///
/// # Errors
///
/// If a file cannot be read, or the two do not belong together.
pub fn server_config(files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let certificates = certificates(&files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|source| TlsError::Pem { file: files.key.clone(), source })?;
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates, key)?;
    Ok(Arc::new(config))
}

/// Trusts every certificate.
pub(super) fn opportunistic() -> Result<Arc<ClientConfig>, TlsError> {
    let provider = provider();
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Trusts the certificates of `authorities`, or those of the system without it.
pub(super) fn verified(authorities: Option<&Path>) -> Result<Arc<ClientConfig>, TlsError> {
    let builder =
        ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let Some(file) = authorities else {
        return Ok(Arc::new(builder.with_platform_verifier()?.with_no_client_auth()));
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate)?;
    }
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

/// The name that a hop's certificate must have.
pub(super) fn server_name(name: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(name.to_owned()).map_err(|_| TlsError::Name(name.to_owned()))
}

/// Why there is no TLS configuration. All of these are the operator's to mend.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read, or has no PEM.
    #[error("cannot read PEM from {}: {source}", file.display())]
    Pem {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        source: rustls::pki_types::pem::Error,
    },
    /// A file without a certificate.
    #[error("there is no certificate in {}", .0.display())]
    NoCertificate(PathBuf),
    /// The certificates or the key are of no use.
    #[error("the certificate or its key cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
    /// `tls_name` is neither a host name nor an address.
    #[error("{0:?} is neither a host name nor an IP address")]
    Name(String),
    /// The password file of a hop.
    #[error("cannot read the password file {}: {source}", file.display())]
    Password {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = |source| TlsError::Pem { file: file.to_owned(), source };
    let all = CertificateDer::pem_file_iter(file)
        .map_err(pem)?
        .collect::<Result<Vec<_>, _>>()
        .map_err(pem)?;
    if all.is_empty() { Err(TlsError::NoCertificate(file.to_owned())) } else { Ok(all) }
}

/// Takes any certificate, and checks only that the peer holds its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
