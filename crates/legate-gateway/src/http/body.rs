//! Bodies on their way through: counted, held to the request's limits, and ending its exchange.

mod request;
mod response;

pub(crate) use request::{BadBody, RequestBody};
pub(crate) use response::ResponseBody;
