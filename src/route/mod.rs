//! Which operation does a request mean?
use http::Method;
use crate::domain::OperationIndex;
#[derive(Debug, Clone, Copy)] pub struct CanonicalPath<'a>(&'a str);
#[derive(Debug, thiserror::Error)] #[error("path")] pub struct PathError;
impl<'a> CanonicalPath<'a> { pub fn parse(raw: &'a str) -> Result<Self, PathError> { Ok(Self(raw)) } }
pub struct RouteTable;
#[derive(Debug, thiserror::Error)] pub enum RouteError { #[error("none")] NotFound, #[error("method")] MethodNotAllowed { allow: String } }
pub struct Captures<'p>(Vec<(&'p str, &'p str)>);
impl<'p> Captures<'p> { pub fn as_slice(&self) -> &[(&'p str, &'p str)] { &self.0 } }
pub struct Match<'p> { pub index: OperationIndex, pub captures: Captures<'p> }
impl RouteTable { pub fn resolve<'p>(&self, _: &Method, _: CanonicalPath<'p>) -> Result<Match<'p>, RouteError> { Err(RouteError::NotFound) } }
