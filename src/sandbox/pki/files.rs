//! PEM files: secrets are readable by their owner only, and a file is replaced whole or not at all.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

use super::PkiError;
use super::authority::Issued;

/// Where a certificate and its key lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Identity {
    /// `{name}.pem` and `{name}.key` in `folder`.
    pub fn named(folder: &Path, name: &str) -> Self {
        Self { certificate: folder.join(format!("{name}.pem")), key: folder.join(format!("{name}.key")) }
    }

    pub(super) fn write(&self, issued: &Issued) -> Result<(), PkiError> {
        write_public(&self.certificate, &issued.certificate_pem)?;
        write_secret(&self.key, &issued.key_pem)
    }
}

/// Makes the folder for its owner only; one that exists is narrowed.
pub(super) fn make_folder(folder: &Path) -> Result<(), PkiError> {
    let write_error = |source| PkiError::Write { path: folder.to_owned(), source };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(write_error)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).map_err(write_error)
}

pub(super) fn write_public(path: &Path, text: &str) -> Result<(), PkiError> {
    replace(path, text.as_bytes(), 0o644)
}

pub(super) fn write_secret(path: &Path, text: &SecretString) -> Result<(), PkiError> {
    replace(path, text.expose_secret().as_bytes(), 0o600)
}

pub(super) fn read(path: &Path) -> Result<String, PkiError> {
    fs::read_to_string(path).map_err(|source| PkiError::Read { path: path.to_owned(), source })
}

fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), PkiError> {
    let aside = path.with_extension("new");
    let written = (|| {
        // A leftover of a killed run may carry other permissions.
        let _ = fs::remove_file(&aside);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&aside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&aside, path)
    })();
    written.map_err(|source| PkiError::Write { path: path.to_owned(), source })
}
