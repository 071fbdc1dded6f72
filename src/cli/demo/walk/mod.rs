//! `clearway demo --once`: the whole job over real sockets, step by step.
//!
//! Everything that an outsider can do is done from outside; only what no outsider can bring about is rehearsed from
//! within: tokens that no client would get, and institutions that fail.

mod authority;
mod authorization;
mod binding;
mod catalogue;
mod clients;
mod contract;
mod delegation;
mod documents;
mod forgery;
mod institutions;
mod keys;
mod outage;
mod outside;
mod partner;
mod policies;
mod quota;
mod reading;
mod reload;
mod reply;
mod report;
mod routing;
mod signals;

use super::setup::Demo;
use crate::cli::Ending;
use outside::Outside;
use report::Report;

/// Does every step and prints every verdict.
pub(super) async fn walk(demo: &Demo, json: bool) -> anyhow::Result<Ending> {
    let outside = Outside::new(demo)?;
    let logs = signals::Logs::now(demo);
    let mut report = Report::new(json);
    catalogue::walk(&outside, &mut report).await;
    clients::walk(&outside, &mut report).await;
    let read = reading::walk(&outside, &mut report).await;
    binding::walk(&outside, &mut report).await;
    forgery::walk(&outside, &mut report).await;
    authority::walk(&outside, &mut report).await;
    routing::walk(&outside, &mut report).await;
    policies::walk(&outside, &mut report).await;
    contract::walk(&outside, &mut report).await;
    institutions::walk(&outside, &mut report).await;
    quota::walk(&outside, &mut report).await;
    outage::walk(&outside, &mut report).await;
    reload::walk(&outside, &mut report).await;
    let told = partner::Told::read(&outside).await?;
    authorization::walk(&outside, &told, &mut report).await?;
    delegation::walk(&outside, &told, &mut report).await;
    keys::walk(&outside, &mut report).await;
    documents::walk(&outside, &mut report).await;
    signals::walk(&outside, &mut report, &logs, &read).await;
    Ok(if report.finish() { Ending::Done } else { Ending::Failed })
}
