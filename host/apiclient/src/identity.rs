//! A client certificate in files, as kubelets and control planes have them: it is renewed there, and read again.
//!
//! Promised: a new pair of certificate and key is used for every connection that is opened after it was seen, which is
//! [`PACE`] after it was written, or at once after a 401. Connections that are open keep theirs; what is under way
//! there goes on. Files that can't be read, or don't belong together (as in the middle of a renewal), leave the old
//! pair in use, which is said once.

use std::{
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kube::config::AuthInfo;
use rustls::{
    SignatureScheme,
    client::ResolvesClientCert,
    crypto::ring::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};

use crate::token::regular;

/// Between two looks into the files.
pub(crate) const PACE: Duration = Duration::from_secs(10);

/// And after a 401.
const SOON: Duration = Duration::from_secs(1);

/// The longest file that is read; a chain of certificates has some KB.
const MAX_FILE: u64 = 1 << 20;

/// A pair of files. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Identity(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    certificate: PathBuf,
    key: PathBuf,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    pair: Arc<CertifiedKey>,
    /// How many pairs there were before this one.
    generation: u64,
    looked: Duration,
    refused: bool,
    /// The last look found a pair that can't be used, and that was said.
    told: bool,
}

fn bounded(path: &Path) -> io::Result<Vec<u8>> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let mut bytes = Vec::new();
    regular(path)
        .map_err(named)?
        .take(MAX_FILE)
        .read_to_end(&mut bytes)
        .map_err(named)?;
    Ok(bytes)
}

fn read(certificate: &Path, key: &Path) -> io::Result<CertifiedKey> {
    let wrong = |path: &Path, why: &dyn std::fmt::Display| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{}: {why}", path.display()))
    };
    let chain = CertificateDer::pem_slice_iter(&bounded(certificate)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| wrong(certificate, &error))?;
    if chain.is_empty() {
        return Err(wrong(certificate, &"there is no certificate in it"));
    }
    // Neither error quotes the key.
    let private = PrivateKeyDer::from_pem_slice(&bounded(key)?).map_err(|error| wrong(key, &error))?;
    let signer = any_supported_type(&private).map_err(|error| wrong(key, &error))?;
    let pair = CertifiedKey::new(chain, signer);
    match pair.keys_match() {
        // A kind of key that does not tell.
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(pair),
        Err(_) => Err(wrong(key, &format!("is not the key of {}", certificate.display()))),
    }
}

impl Identity {
    /// The pair of files that the credentials name, where those are what counts.
    ///
    /// # Errors
    /// They can't be read, or don't belong together.
    pub(crate) fn of(auth: &AuthInfo) -> io::Result<Option<Self>> {
        // What kube prefers to them: data in the kubeconfig, and what a command brings.
        let other = auth.client_certificate_data.is_some() || auth.client_key_data.is_some() || auth.exec.is_some();
        let (Some(certificate), Some(key), false) = (&auth.client_certificate, &auth.client_key, other) else {
            return Ok(None);
        };
        let (certificate, key) = (PathBuf::from(certificate), PathBuf::from(key));
        let held = Held {
            pair: Arc::new(read(&certificate, &key)?),
            generation: 0,
            looked: Duration::ZERO,
            refused: false,
            told: false,
        };
        Ok(Some(Self(Arc::new(Inner {
            certificate,
            key,
            held: Mutex::new(held),
        }))))
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the files again where it is time to. The number grows with each new pair.
    pub(crate) fn look(&self, now: Duration) -> u64 {
        let mut held = self.held();
        let pace = if held.refused { SOON } else { PACE };
        if now.saturating_sub(held.looked) < pace {
            return held.generation;
        }
        (held.looked, held.refused) = (now, false);
        match read(&self.0.certificate, &self.0.key) {
            Ok(pair) => {
                held.told = false;
                if pair.cert != held.pair.cert {
                    held.pair = Arc::new(pair);
                    held.generation += 1;
                    tracing::info!(
                        file = %self.0.certificate.display(),
                        "the client certificate was renewed; new connections use it"
                    );
                }
            }
            Err(error) if !held.told => {
                held.told = true;
                tracing::warn!(
                    %error,
                    "the client certificate can't be read again; the one read before stays in use (check the files and their permissions)"
                );
            }
            Err(_) => {}
        }
        held.generation
    }

    /// The server has answered 401 on a connection that was opened with the pair of this number: worth a look.
    pub(crate) fn refused(&self, generation: u64) {
        let mut held = self.held();
        held.refused |= held.generation == generation;
    }
}

impl ResolvesClientCert for Identity {
    fn resolve(&self, _issuers: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let pair = self.held().pair.clone();
        pair.key.choose_scheme(schemes).is_some().then_some(pair)
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    struct Files(tempfile::TempDir);

    impl Files {
        fn write(&self, certificate: &rcgen::CertifiedKey<rcgen::KeyPair>, key: &rcgen::CertifiedKey<rcgen::KeyPair>) {
            fs::write(self.0.path().join("crt"), certificate.cert.pem()).unwrap();
            fs::write(self.0.path().join("key"), key.signing_key.serialize_pem()).unwrap();
        }

        fn auth(&self) -> AuthInfo {
            let path = |name: &str| Some(self.0.path().join(name).display().to_string());
            AuthInfo {
                client_certificate: path("crt"),
                client_key: path("key"),
                ..AuthInfo::default()
            }
        }
    }

    fn pair() -> rcgen::CertifiedKey<rcgen::KeyPair> {
        rcgen::generate_simple_self_signed(["me".to_owned()]).unwrap()
    }

    fn shown(identity: &Identity) -> Vec<u8> {
        identity.held().pair.cert[0].to_vec()
    }

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn a_renewed_certificate_is_seen_at_the_next_look_and_a_broken_one_changes_nothing() {
        let files = Files(tempfile::tempdir().unwrap());
        let (one, two) = (pair(), pair());
        files.write(&one, &one);
        let identity = Identity::of(&files.auth()).unwrap().unwrap();
        files.write(&two, &one);
        assert_eq!(identity.look(PACE), 0, "half of a renewal");
        assert_eq!(shown(&identity), one.cert.der().to_vec());
        files.write(&two, &two);
        assert_eq!(identity.look(PACE * 2 - S), 0, "it is not looked at for each request");
        assert_eq!(identity.look(PACE * 2), 1);
        assert_eq!(shown(&identity), two.cert.der().to_vec());
        fs::remove_file(files.0.path().join("crt")).unwrap();
        assert_eq!(identity.look(PACE * 3), 1);
        assert_eq!(shown(&identity), two.cert.der().to_vec());
    }

    #[test]
    fn a_401_makes_it_look_at_once_but_not_for_a_pair_that_is_gone() {
        let files = Files(tempfile::tempdir().unwrap());
        let (one, two, three) = (pair(), pair(), pair());
        files.write(&one, &one);
        let identity = Identity::of(&files.auth()).unwrap().unwrap();
        files.write(&two, &two);
        identity.refused(0);
        assert_eq!(identity.look(S), 1);
        files.write(&three, &three);
        identity.refused(0);
        assert_eq!(
            identity.look(S),
            1,
            "an answer to the first pair says nothing of the second"
        );
    }

    #[test]
    fn files_count_where_nothing_else_does_and_what_is_wrong_with_them_is_named() {
        let files = Files(tempfile::tempdir().unwrap());
        let error = Identity::of(&files.auth()).unwrap_err().to_string();
        assert!(error.contains("crt: "), "{error}");
        fs::create_dir(files.0.path().join("crt")).unwrap();
        let error = Identity::of(&files.auth()).unwrap_err().to_string();
        assert!(error.ends_with("crt: it is no regular file"), "{error}");
        fs::remove_dir(files.0.path().join("crt")).unwrap();
        let (one, two) = (pair(), pair());
        files.write(&one, &two);
        let error = Identity::of(&files.auth()).unwrap_err().to_string();
        assert!(error.contains("key: is not the key of "), "{error}");
        let data = AuthInfo {
            client_certificate_data: Some("eA==".to_owned()),
            ..files.auth()
        };
        assert!(Identity::of(&data).unwrap().is_none());
        assert!(Identity::of(&AuthInfo::default()).unwrap().is_none());
    }
}
