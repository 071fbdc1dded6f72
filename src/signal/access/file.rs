//! The file that lines go to, under whatever name it is found.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::Output;
use crate::disk::FileIdentity;

pub(super) struct LogFile {
    file: File,
    identity: FileIdentity,
    path: PathBuf,
}

impl LogFile {
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        Ok(Self { identity: FileIdentity::of(&file)?, file, path: path.to_owned() })
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Output for LogFile {
    fn follow(&mut self) -> io::Result<bool> {
        if self.identity.is_at(&self.path)? {
            return Ok(false);
        }
        *self = Self::open(&self.path)?;
        Ok(true)
    }
}
