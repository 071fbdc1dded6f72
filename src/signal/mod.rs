//! What do operators see?
use std::sync::Arc;
pub struct OperationMetrics;
#[derive(Default)] pub struct Metrics;
impl Metrics { pub fn new() -> Self { Self } pub fn operation(&self, _: &crate::domain::OperationId) -> Arc<OperationMetrics> { Arc::new(OperationMetrics) } pub fn render(&self) -> String { String::new() } }
