//! How large a document may be. A partner uploads it, so everything it can make us build has a bound.

/// Bytes of one file.
pub const FILE_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Bytes of all files of one document.
pub const FILES_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Files of one document.
pub const FILES_MAX: usize = 2_000;
/// Nesting of lists and objects; serde_json's own bound is 128.
pub const DEPTH_MAX: usize = 120;
/// Values of one file once its aliases are expanded.
pub const NODES_MAX: usize = 2_000_000;
/// Aliases in one YAML file.
pub const ALIASES_MAX: usize = 10_000;
/// Parts of other places and files that become components of the one document.
pub const HOISTED_MAX: usize = 20_000;
/// References followed one after the other until a definition must have been reached.
pub const REF_CHAIN_MAX: usize = 64;
/// Findings that a report lists; those after it are counted.
pub const FINDINGS_MAX: usize = 2_000;
