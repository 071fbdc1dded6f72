//! What do operators see?
pub struct OperationMetrics;
