//! x
use super::setup::Demo;
use crate::cli::Ending;
pub(super) async fn walk(_demo: &Demo, _json: bool) -> anyhow::Result<Ending> { Ok(Ending::Done) }
