//! Has the configuration changed on disk?

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::config::{AccessLogSettings, Foundation, GatewaySettings, KINDS};

use super::policies;

/// Editors write a file in several steps: changes within this time are one change…
const SETTLE: Duration = Duration::from_millis(200);
/// …but a folder that never rests is looked at all the same.
const SETTLE_MAX: Duration = Duration::from_secs(2);

/// Tells when a file of the configuration changed. Dropping it stops the watch.
pub(super) struct ChangeWatch {
    _watcher: notify::RecommendedWatcher,
    changes: mpsc::Receiver<()>,
    folders: BTreeSet<PathBuf>,
}

impl ChangeWatch {
    /// Watches the folders of every file that took part, and the policy folders: folders, because editors and
    /// deployments replace files by renaming others over them.
    pub(super) fn new(folder: &Path, foundation: &Foundation) -> Result<Self, notify::Error> {
        let (sender, changes) = mpsc::channel(1);
        let written = Written::of(&foundation.gateway);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let matters = event.is_ok_and(|event| !event.kind.is_access() && !written.accounts_for(&event.paths));
            if matters {
                // A full channel already says what this would say.
                let _ = sender.try_send(());
            }
        })?;
        let folders = folders(folder, foundation);
        for folder in &folders {
            watcher.watch(folder, RecursiveMode::NonRecursive)?;
        }
        Ok(Self { _watcher: watcher, changes, folders })
    }

    /// Waits for a change and for the changes that follow at its heels.
    pub(super) async fn changed(&mut self) {
        if self.changes.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
        let end = Instant::now() + SETTLE_MAX;
        while timeout_at(end.min(Instant::now() + SETTLE), self.changes.recv())
            .await
            .is_ok_and(|change| change.is_some())
        {
            if Instant::now() >= end {
                break;
            }
        }
    }

    /// Whether this watch has seen what `older` has not waited for: a change since, or folders that it did not watch.
    pub(super) fn has_news_for(&self, older: &mut Self) -> bool {
        older.changes.try_recv().is_ok() || !self.folders.is_subset(&older.folders)
    }
}

/// What the gateway writes itself: its state may lie beside its configuration, and must not reload it.
struct Written(Vec<PathBuf>);

impl Written {
    fn of(gateway: &GatewaySettings) -> Self {
        let mut files = vec![gateway.store.clone(), gateway.audit_file.clone()];
        if let AccessLogSettings::File(file) = &gateway.access_log {
            files.push(file.clone());
        }
        Self(files)
    }

    /// Whether all paths are such files or those that a database keeps beside its own (`-wal`, `-shm`, `-journal`).
    fn accounts_for(&self, paths: &[PathBuf]) -> bool {
        let ours = |path: &PathBuf| {
            self.0.iter().any(|own| {
                let begins = |name: &std::ffi::OsStr| {
                    own.file_name().is_some_and(|own| name.as_encoded_bytes().starts_with(own.as_encoded_bytes()))
                };
                path.parent().and_then(Path::file_name) == own.parent().and_then(Path::file_name)
                    && path.file_name().is_some_and(begins)
            })
        };
        !paths.is_empty() && paths.iter().all(ours)
    }
}

/// A kind's folder counts from the moment it exists: its first file is a change too.
fn folders(folder: &Path, foundation: &Foundation) -> BTreeSet<PathBuf> {
    let mut folders: BTreeSet<PathBuf> = foundation.gateway.policy_folders.iter().cloned().collect();
    folders.insert(folder.to_owned());
    folders.extend(KINDS.iter().map(|kind| folder.join(kind)));
    let files = foundation.files.iter().cloned().chain(policies::files(&foundation.gateway));
    folders.extend(files.filter_map(|file| file.parent().map(PathBuf::from)));
    folders.retain(|folder| folder.is_dir());
    folders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_gateway_writes_itself_is_no_change() {
        let written = Written(vec!["/etc/clearway/state/clearway.db".into(), "/etc/clearway/audit.jsonl".into()]);
        for (name, paths, ours) in [
            ("the database", vec!["/etc/clearway/state/clearway.db"], true),
            ("its log", vec!["/etc/clearway/state/clearway.db-wal"], true),
            ("the audit file", vec!["/etc/clearway/audit.jsonl"], true),
            ("a rotated audit file", vec!["/etc/clearway/audit.jsonl.1"], true),
            ("both", vec!["/etc/clearway/audit.jsonl", "/etc/clearway/state/clearway.db"], true),
            ("configuration", vec!["/etc/clearway/apis.yaml"], false),
            ("configuration among them", vec!["/etc/clearway/audit.jsonl", "/etc/clearway/apis.yaml"], false),
            ("a folder's new content", vec!["/etc/clearway/..data"], false),
            ("nothing known", vec![], false),
        ] {
            let paths: Vec<PathBuf> = paths.into_iter().map(PathBuf::from).collect();
            assert_eq!(written.accounts_for(&paths), ours, "{name}");
        }
    }
}
