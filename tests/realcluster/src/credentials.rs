//! Keys, certificates and tokens, made anew for each control plane.

use std::fs;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

use crate::Error;

/// What of them is not in files.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    /// The certificate of the authority, DER.
    #[cfg_attr(not(feature = "client"), expect(dead_code, reason = "clients of kube-rs check it"))]
    pub(crate) ca_der: Vec<u8>,
    /// The administrator's.
    pub(crate) token: String,
}

/// Files that the API server is started with.
pub(crate) const CA: &str = "ca.crt";
/// Its certificate.
pub(crate) const CERTIFICATE: &str = "apiserver.crt";
/// Its certificate's key.
pub(crate) const KEY: &str = "apiserver.key";
/// Signs service accounts' tokens.
pub(crate) const ACCOUNTS_KEY: &str = "sa.key";
/// Checks them.
pub(crate) const ACCOUNTS_PUBLIC: &str = "sa.pub";
/// The administrator's token.
pub(crate) const TOKENS: &str = "tokens.csv";

impl Credentials {
    /// Makes them and writes those files into `directory`.
    pub(crate) fn make(directory: &Path) -> Result<Self, Error> {
        let ca_key = KeyPair::generate()?;
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        ca.distinguished_name.push(DnType::CommonName, "pilothouse-realcluster");
        let ca_certificate = ca.self_signed(&ca_key)?;
        let issuer = Issuer::new(ca, ca_key);

        let key = KeyPair::generate()?;
        let mut server = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()])?;
        server.distinguished_name.push(DnType::CommonName, "kube-apiserver");
        server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = server.signed_by(&key, &issuer)?;

        let accounts = KeyPair::generate()?;
        let token = random_hex();
        for (name, text) in [
            (CA, ca_certificate.pem()),
            (CERTIFICATE, certificate.pem()),
            (KEY, key.serialize_pem()),
            (ACCOUNTS_KEY, accounts.serialize_pem()),
            (ACCOUNTS_PUBLIC, accounts.public_key_pem()),
            (TOKENS, format!("{token},admin,1,system:masters\n")),
        ] {
            let path = directory.join(name);
            fs::write(&path, text).map_err(Error::file(&path))?;
        }
        Ok(Self {
            ca_der: ca_certificate.der().to_vec(),
            token,
        })
    }
}

/// 32 digits that nobody guesses.
fn random_hex() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the operating system has randomness");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The text of a kubeconfig for `https://127.0.0.1:PORT`; `user` is its user entry, as YAML on one line.
pub(crate) fn kubeconfig(port: u16, ca: &Path, user: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: real\n\
         clusters:\n- name: real\n  cluster:\n    server: https://127.0.0.1:{port}\n    certificate-authority: '{}'\n\
         users:\n- name: user\n  user: {user}\n\
         contexts:\n- name: real\n  context:\n    cluster: real\n    user: user\n",
        ca.display()
    )
}
