//! `grpc.health.v1`.

/// The method.
pub(crate) const CHECK: &str = "/grpc.health.v1.Health/Check";

/// The status of a service that is well.
pub(crate) const SERVING: i32 = 1;

/// The question.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct HealthCheckRequest {
    /// Which service is meant; empty = the server.
    #[prost(string, tag = "1")]
    pub(crate) service: String,
}

/// The answer.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct HealthCheckResponse {
    /// 0 unknown, 1 serving, 2 not serving, 3 no such service.
    #[prost(int32, tag = "1")]
    pub(crate) status: i32,
}
