//! Changing what is in force while requests go on: compile aside, then swap, or keep and say why.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use notify::{RecursiveMode, Watcher};
use tokio::sync::mpsc;

use crate::config::{Configuration, Diagnostic};

use super::policies;

/// Editors write a file in several steps: changes within this time are one change.
const SETTLE: Duration = Duration::from_millis(200);
/// A folder in which something is written all the time does not put a reload off for longer.
const SETTLE_MAX: Duration = Duration::from_secs(2);

/// Tells when a file of the configuration changed. Dropping it stops the watch.
pub(super) struct ChangeWatch {
    _watcher: notify::RecommendedWatcher,
    sender: mpsc::Sender<()>,
    changes: mpsc::Receiver<()>,
}

impl ChangeWatch {
    /// Watches the folders of every file that took part, and the policy folders.
    pub(super) fn new(configuration: &Configuration) -> Result<Self, notify::Error> {
        let (sender, changes) = mpsc::channel(1);
        let noticed = sender.clone();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let matters = event.is_ok_and(|event| !event.kind.is_access());
            if matters {
                // A full channel already says what this would say.
                let _ = noticed.try_send(());
            }
        })?;
        for folder in folders(configuration) {
            watcher.watch(&folder, RecursiveMode::NonRecursive)?;
        }
        Ok(Self { _watcher: watcher, sender, changes })
    }

    /// Makes a change that another watch has seen, and nobody has acted upon, one of this watch.
    pub(super) fn take_over(&self, mut former: Self) {
        if former.changes.try_recv().is_ok() {
            let _ = self.sender.try_send(());
        }
    }

    /// Waits for a change and for the changes that follow at its heels.
    pub(super) async fn changed(&mut self) {
        if self.changes.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
        let settled = async {
            while tokio::time::timeout(SETTLE, self.changes.recv()).await.is_ok_and(|change| change.is_some()) {}
        };
        let _either_way = tokio::time::timeout(SETTLE_MAX, settled).await;
    }
}

fn folders(configuration: &Configuration) -> BTreeSet<PathBuf> {
    let files = configuration.files.iter().cloned().chain(policies::files(configuration));
    let of_files = files.filter_map(|file| file.parent().map(PathBuf::from));
    // One that is gone for the moment does not cost the watch over the others.
    of_files.chain(configuration.gateway.policy_folders.iter().cloned()).filter(|folder| folder.is_dir()).collect()
}

/// Says what is wrong with a configuration that is not taken.
pub(super) fn report(mistakes: &[Diagnostic]) {
    tracing::error!(mistakes = mistakes.len(), "the new configuration is not taken; the one in force stays");
    for mistake in mistakes {
        tracing::error!("{mistake}");
    }
}

/// Changes of keys that only a restart applies, by name, so that nobody believes them in force.
pub(super) fn restart_only_changes(old: &Configuration, new: &Configuration) -> Vec<&'static str> {
    let (old, new) = (&old.gateway, &new.gateway);
    let mut changed = Vec::new();
    for (name, differs) in [
        ("public_url", old.public_url != new.public_url),
        ("issuer", old.issuer != new.issuer),
        ("mtls_url", old.mtls_url != new.mtls_url),
        ("listeners", old.listeners != new.listeners),
        ("operations_address", old.operations_address != new.operations_address),
        ("workers", old.workers != new.workers),
        ("flood_guard", old.flood != new.flood),
        ("store_file", old.store != new.store),
        ("audit_file", old.audit_file != new.audit_file),
        ("access_log", old.access_log != new.access_log),
        ("limits", old.limits != new.limits),
    ] {
        if differs {
            changed.push(name);
        }
    }
    changed
}
