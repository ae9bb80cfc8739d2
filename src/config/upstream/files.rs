//! What is in files: the password for Redis, certificates and keys.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;

use super::Password;

/// None of these files is longer: another one was meant. The certificates of all public authorities
/// together are a quarter of it.
const LONGEST_FILE: u64 = 1024 * 1024;

/// The certificates in a file; at least one.
#[derive(Debug, Clone)]
pub struct Certificates(Vec<CertificateDer<'static>>);

/// The key in a file.
#[derive(Debug, Clone)]
pub struct Key(Arc<PrivateKeyDer<'static>>);

/// A certificate to show, with those that it was signed with, and its key.
#[derive(Debug, Clone)]
pub struct Identity {
    chain: Certificates,
    key: Key,
}

impl Certificates {
    /// Each of them.
    #[must_use]
    pub fn to_vec(&self) -> Vec<CertificateDer<'static>> {
        self.0.clone()
    }
}

impl Identity {
    pub(super) fn new(chain: &Certificates, key: &Key) -> Self {
        let (chain, key) = (chain.clone(), key.clone());
        Self { chain, key }
    }

    /// The certificate, and those that it was signed with.
    #[must_use]
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.chain.to_vec()
    }

    /// The key of the certificate.
    #[must_use]
    pub fn key(&self) -> PrivateKeyDer<'static> {
        self.key.0.clone_key()
    }

    /// Whether the key is that of the certificate.
    pub(super) fn check(&self) -> Result<(), String> {
        let provider = ring::default_provider();
        match CertifiedKey::from_der(self.chain(), self.key(), &provider) {
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }
}

fn read(path: &str) -> Result<Vec<u8>, String> {
    let mut content = Vec::new();
    let read = File::open(path).and_then(|file| {
        let mut file = file.take(LONGEST_FILE + 1);
        file.read_to_end(&mut content)
    });
    match read {
        Ok(length) if length as u64 > LONGEST_FILE => Err("the file is too long".into()),
        Ok(_) => Ok(content),
        Err(error) => Err(format!("the file cannot be read: {error}")),
    }
}

/// Reads a file with a password. The error does not repeat the path: it could be a password in the wrong
/// place.
pub(super) fn read_password(path: &str) -> Result<Password, String> {
    let Ok(mut text) = String::from_utf8(read(path)?) else {
        return Err("the file is not UTF-8".into());
    };
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.is_empty() {
        return Err("the file is empty".into());
    }
    Ok(Password(text))
}

pub(super) fn read_certificates(path: &str) -> Result<Certificates, String> {
    let content = read(path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&content).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => {
            Err("there is no certificate in the file; PEM is wanted".into())
        }
        Ok(certificates) => Ok(Certificates(certificates)),
        Err(error) => Err(format!("the file is not sound PEM: {error}")),
    }
}

pub(super) fn read_key(path: &str) -> Result<Key, String> {
    // The error is left out: it could quote the file.
    match PrivateKeyDer::from_pem_slice(&read(path)?) {
        Ok(key) => Ok(Key(Arc::new(key))),
        Err(_) => Err("there is no key in the file; PEM without a passphrase is wanted".into()),
    }
}
