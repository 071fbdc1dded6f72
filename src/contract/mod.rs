//! Does a message keep to the published contract? Parameters and bodies against an operation's JSON Schemas.

mod spec;

pub use spec::{
    BodySpec, MediaTypeSpec, OperationSpec, ParameterPlace, ParameterSpec, ResponseSpec, SchemaPointer, StatusRange,
    Style,
};
