//! Cross-origin resource sharing (spec/services §3.9): which origins are allowed, the answer to a
//! preflight, and the headers of actual responses.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderValue, ORIGIN,
};
use http::{HeaderMap, Method};
use legate_config::policy::CorsPolicy;

/// The CORS settings of a target.
#[derive(Debug, Clone)]
pub(crate) struct CompiledCors {
    any: bool,
    origins: Vec<String>,
    methods: Option<HeaderValue>,
    headers: Option<HeaderValue>,
    exposed_headers: Option<HeaderValue>,
    credentials: bool,
    max_age: Option<HeaderValue>,
}

impl CompiledCors {
    /// Prepares the settings.
    ///
    /// # Errors
    /// A list that is no header value.
    pub(crate) fn build(policy: &CorsPolicy) -> Result<Self, String> {
        let value = |text: &Option<String>| {
            let value = text.as_deref().map(HeaderValue::from_str).transpose();
            value.map_err(|_| "a list of `cors` is no header value".to_owned())
        };
        Ok(Self {
            any: policy.origins.iter().any(|origin| origin == "*"),
            origins: policy.origins.clone(),
            methods: value(&policy.methods)?,
            headers: value(&policy.headers)?,
            exposed_headers: value(&policy.exposed_headers)?,
            credentials: policy.credentials,
            max_age: policy.max_age.map(HeaderValue::from),
        })
    }

    /// The request's origin, if it is allowed.
    pub(crate) fn allowed<'h>(&self, headers: &'h HeaderMap) -> Option<&'h HeaderValue> {
        let origin = headers.get(ORIGIN).filter(|origin| !origin.is_empty())?;
        let listed = || {
            self.origins
                .iter()
                .any(|allowed| allowed.as_bytes() == origin.as_bytes())
        };
        (self.any || listed()).then_some(origin)
    }

    /// What a preflight from an allowed origin is answered.
    pub(crate) fn answer_preflight(&self, headers: &mut HeaderMap, origin: &HeaderValue) {
        self.allow(headers, origin);
        for (name, value) in [
            (ACCESS_CONTROL_ALLOW_METHODS, &self.methods),
            (ACCESS_CONTROL_ALLOW_HEADERS, &self.headers),
            (ACCESS_CONTROL_MAX_AGE, &self.max_age),
        ] {
            if let Some(value) = value {
                headers.insert(name, value.clone());
            }
        }
    }

    /// What the response to an allowed origin says, whatever the upstream wrote there.
    pub(crate) fn mark_response(&self, headers: &mut HeaderMap, origin: &HeaderValue) {
        self.allow(headers, origin);
        if let Some(value) = &self.exposed_headers {
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, value.clone());
        }
    }

    fn allow(&self, headers: &mut HeaderMap, origin: &HeaderValue) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        if self.credentials {
            let value = HeaderValue::from_static("true");
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, value);
        }
    }
}

/// Whether a browser asks what it may send, provided that its origin is allowed.
pub(crate) fn wants_preflight(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::OPTIONS
        && headers
            .get(ACCESS_CONTROL_REQUEST_METHOD)
            .is_some_and(|method| !method.is_empty())
}
