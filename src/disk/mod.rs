//! Is a place on the disk ours alone, and does a name still lead to the file that we hold open?

use std::fs::{DirBuilder, File, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often a file that is written to is looked for by its name, so that one that was renamed or removed is followed.
pub const FOLLOW: Duration = Duration::from_secs(1);

/// Makes the folder of a file, and those above it, for us alone (mode 0700). Those that exist are left as they are. A failure
/// names the folder.
pub fn make_folder_of(file: &Path) -> Result<(), (PathBuf, io::Error)> {
    match file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.map_err(|error| (folder.to_owned(), error))
        }
        None => Ok(()),
    }
}

/// What tells a file from all others while somebody holds it open: device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileIdentity(u64, u64);

impl FileIdentity {
    pub fn of(file: &File) -> io::Result<Self> {
        file.metadata().map(|metadata| Self::named(&metadata))
    }

    fn named(metadata: &Metadata) -> Self {
        Self(metadata.dev(), metadata.ino())
    }

    /// Whether the path leads to this file; not once it was renamed or removed.
    pub fn is_at(self, path: &Path) -> io::Result<bool> {
        match std::fs::metadata(path) {
            Ok(there) => Ok(Self::named(&there) == self),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn folders_are_made_for_us_alone() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("a/b/file");
        make_folder_of(&file).unwrap();
        make_folder_of(&file).unwrap();
        for folder in ["a", "a/b"] {
            let mode = place.path().join(folder).metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700, "{folder}");
        }
        make_folder_of(Path::new("file")).unwrap();
        std::fs::write(&file, "").unwrap();
        let (folder, _) = make_folder_of(&file.join("c/file")).unwrap_err();
        assert_eq!(folder, file.join("c"));
    }

    #[test]
    fn a_file_is_known_by_more_than_its_name() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("file");
        let file = File::create(&path).unwrap();
        let identity = FileIdentity::of(&file).unwrap();
        assert!(identity.is_at(&path).unwrap());
        std::fs::rename(&path, place.path().join("other")).unwrap();
        assert!(!identity.is_at(&path).unwrap(), "nothing is there");
        assert!(identity.is_at(&place.path().join("other")).unwrap());
        File::create(&path).unwrap();
        assert!(!identity.is_at(&path).unwrap(), "another is there");
        assert!(identity.is_at(&path.join("below")).is_err(), "it cannot be known");
    }
}
