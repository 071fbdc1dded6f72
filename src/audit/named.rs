//! The file on the disk: who may read it, who may write it, and whether it still has its name.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::AuditOpenError;
use super::line::{Notice, append};
use super::writer::Sink;
use crate::disk::{FileIdentity, make_folder_of};
use crate::domain::Clock;

/// A file that is ours as long as it is open, and the path at which it is expected.
pub(super) struct NamedFile {
    file: File,
    identity: FileIdentity,
    path: PathBuf,
    clock: Arc<dyn Clock>,
}

impl NamedFile {
    /// See [`super::AuditFile::open`].
    pub fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, AuditOpenError> {
        let failed = |source| AuditOpenError::File { path: path.to_owned(), source };
        make_folder_of(path).map_err(|(path, source)| AuditOpenError::Directory { path, source })?;
        let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path).map_err(failed)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => AuditOpenError::Locked { path: path.to_owned() },
            TryLockError::Error(source) => failed(source),
        })?;
        protect(&file).map_err(failed)?;
        end_torn_line(&file, &*clock).map_err(failed)?;
        let identity = FileIdentity::of(&file).map_err(failed)?;
        Ok(Self { file, identity, path: path.to_owned(), clock })
    }
}

impl Sink for NamedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn follow(&mut self) -> io::Result<bool> {
        if self.identity.is_at(&self.path)? {
            return Ok(false);
        }
        *self = Self::open(&self.path, Arc::clone(&self.clock)).map_err(|error| match error {
            AuditOpenError::Locked { .. } => io::Error::other(error),
            AuditOpenError::Directory { source, .. }
            | AuditOpenError::File { source, .. }
            | AuditOpenError::Thread(source) => source,
        })?;
        Ok(true)
    }
}

fn protect(file: &File) -> io::Result<()> {
    let mode = file.metadata()?.permissions().mode();
    if mode & 0o077 == 0 { Ok(()) } else { file.set_permissions(Permissions::from_mode(0o600)) }
}

fn end_torn_line(file: &File, clock: &dyn Clock) -> io::Result<()> {
    let Some(last) = file.metadata()?.len().checked_sub(1) else { return Ok(()) };
    let mut byte = [0];
    file.read_exact_at(&mut byte, last)?;
    if byte == *b"\n" {
        return Ok(());
    }
    let mut lines = vec![b'\n'];
    append(&mut lines, &Notice::TornLine { at: clock.now() });
    let mut to: &File = file;
    to.write_all(&lines)?;
    file.sync_data()
}
