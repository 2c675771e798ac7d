//! The cluster's certificates. One authority is kept; everything else is issued anew at every start, so that nothing
//! expires unnoticed.

use std::fs;
use std::io;
use std::net::IpAddr;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};

use crate::place::{Place, write_private};

/// A certificate and its key, PEM.
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// The key.
    pub key: String,
}

/// Why certificates cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file cannot be read or written.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A certificate cannot be made or read.
    #[error("the certificates in the pki folder cannot be used: {0}; `orrery delete` makes room for new ones")]
    Certificate(#[from] rcgen::Error),
}

/// The cluster's authority.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// Its certificate as it was first written.
    certificate: String,
}

impl Authority {
    /// The authority at `place`, made if there is none.
    pub fn open(place: &Place) -> Result<Self, PkiError> {
        // The key is written first. A certificate without one is of a key that nobody has: it is made anew.
        let is_new = !place.authority_key().exists();
        let key = if is_new {
            let key = KeyPair::generate()?;
            write_private(&place.authority_key(), key.serialize_pem().as_bytes())?;
            key
        } else {
            KeyPair::from_pem(&fs::read_to_string(place.authority_key())?)?
        };
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::CrlSign,
        ];
        params.distinguished_name = name("orreryCA", &[]);
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(2050, 1, 1));
        let issuer = CertifiedIssuer::self_signed(params, key)?;
        let certificate = if is_new || !place.authority_certificate().exists() {
            write_private(&place.authority_certificate(), issuer.pem().as_bytes())?;
            issuer.pem()
        } else {
            fs::read_to_string(place.authority_certificate())?
        };
        Ok(Authority { issuer, certificate })
    }

    /// The authority's certificate, PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Certifies the API server under `names` and `addresses`.
    pub fn server(&self, names: &[&str], addresses: &[IpAddr]) -> Result<Pair, PkiError> {
        let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())?;
        params
            .subject_alt_names
            .extend(addresses.iter().copied().map(SanType::IpAddress));
        params.distinguished_name = name("kube-apiserver", &[]);
        self.issue(params, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// Certifies a client: `user` in `groups`.
    pub fn client(&self, user: &str, groups: &[&str]) -> Result<Pair, PkiError> {
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.distinguished_name = name(user, groups);
        self.issue(params, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn issue(&self, mut params: CertificateParams, purpose: ExtendedKeyUsagePurpose) -> Result<Pair, PkiError> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![purpose];
        params.use_authority_key_identifier_extension = true;
        // Clocks of clients may be behind ours.
        let now = std::time::SystemTime::now();
        let day = std::time::Duration::from_secs(24 * 3600);
        params.not_before = (now - day).into();
        params.not_after = (now + 366 * day).into();
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Pair {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}

fn name(common: &str, organizations: &[&str]) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    for organization in organizations {
        name.push(DnType::OrganizationName, *organization);
    }
    name.push(DnType::CommonName, common);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_is_kept_and_its_files_are_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let place = Place::new(folder.path());
        place.make().expect("writable");
        let first = Authority::open(&place).expect("made").certificate().to_owned();
        let second = Authority::open(&place).expect("read");
        assert_eq!(first, second.certificate());
        for file in [place.authority_key(), place.authority_certificate()] {
            let mode = fs::metadata(file).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        assert!(
            second
                .client("jane", &["a", "b"])
                .expect("issued")
                .certificate
                .contains("BEGIN CERTIFICATE")
        );
    }

    #[test]
    fn an_authority_that_was_written_by_half_is_whole_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = Place::new(folder.path());
        place.make().expect("writable");
        let read = |path| fs::read_to_string(path).expect("there");
        let first = Authority::open(&place).expect("made").certificate().to_owned();

        // Without the key its certificate is worth nothing.
        fs::remove_file(place.authority_key()).expect("removed");
        let second = Authority::open(&place).expect("made anew").certificate().to_owned();
        assert_ne!(first, second);
        assert_eq!(read(place.authority_certificate()), second);
        assert_eq!(Authority::open(&place).expect("read").certificate(), second);

        // Without the certificate the key still is.
        let key = read(place.authority_key());
        fs::remove_file(place.authority_certificate()).expect("removed");
        let third = Authority::open(&place).expect("made anew").certificate().to_owned();
        assert_eq!(read(place.authority_key()), key);
        assert_eq!(read(place.authority_certificate()), third);
    }
}
