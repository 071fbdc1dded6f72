//! Does a message keep to the published contract? Parameters and bodies against an operation's JSON Schemas.

mod spec;

pub use spec::{
    BodySpec, MediaTypeSpec, OperationSpec, ParameterPlace, ParameterSpec, ResponseSpec, SchemaPointer, StatusRange,
    Style,
};
#[derive(Debug, Clone, Copy, PartialEq, Eq)] pub enum Mode { Off, Observe, Enforce }
pub struct Contract;
pub enum BodyRefusal { MediaType { accepted: Vec<String> }, Invalid(Vec<crate::problem::FieldError>) }
pub enum Body { Absent, Json(serde_json::Value), Form(serde_json::Value), Opaque }
impl Contract {
  pub fn takes_body(&self) -> bool { false }
  pub fn check_parameters(&self, _: &[(&str,&str)], _: Option<&str>, _: &http::HeaderMap) -> Vec<crate::problem::FieldError> { Vec::new() }
  pub fn check_body(&self, _: Option<&str>, _: &Body) -> Result<(), BodyRefusal> { Ok(()) }
  pub fn check_response(&self, _: http::StatusCode, _: Option<&str>, _: &[u8]) -> Vec<crate::problem::FieldError> { Vec::new() }
}
pub fn parse_body(_: Option<&str>, _: &[u8]) -> Result<Body, crate::problem::FieldError> { Ok(Body::Opaque) }
pub struct Contracts;
impl Contracts { pub fn compile(_: &std::sync::Arc<serde_json::Value>, o: &[OperationSpec]) -> (Vec<std::sync::Arc<Contract>>, Vec<String>) { (o.iter().map(|_| std::sync::Arc::new(Contract)).collect(), vec![]) } }
