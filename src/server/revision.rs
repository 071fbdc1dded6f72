//! Which configuration is this? A short hash over every file that took part.

use std::path::PathBuf;

use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::catalogue::ImportedApi;
use crate::config::{Configuration, GatewaySettings};

use super::policies;

/// 12 characters that change when any file of the configuration does, or one that a published document refers to.
pub(super) fn of(configuration: &Configuration, imported: &[ImportedApi]) -> String {
    let mut context = Context::new(&SHA256);
    context.update(of_files(&configuration.gateway, &configuration.files).as_ref());
    for api in imported {
        context.update(&api.sha256);
    }
    let digest = context.finish();
    URL_SAFE_NO_PAD.encode(digest.as_ref().get(..9).unwrap_or_default())
}

/// What the files contain now.
pub(super) fn of_files(gateway: &GatewaySettings, files: &[PathBuf]) -> [u8; 32] {
    let mut files: Vec<PathBuf> = files.to_vec();
    files.extend(policies::files(gateway));
    files.sort();
    files.dedup();
    let mut context = Context::new(&SHA256);
    for file in files {
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        // An unreadable file has been reported by whoever needed its content; here it counts as empty.
        let content = std::fs::read(&file).unwrap_or_default();
        for part in [name.as_bytes(), &content] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
    }
    context.finish().as_ref().try_into().unwrap_or_default()
}
