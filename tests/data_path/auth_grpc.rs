//! External authorisation over gRPC, what is asked and answered: the worked examples of spec/services
//! §1.10 that apply, against a real server of the public protocol.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use envoy_types::ext_authz::v3::pb::{
    Authorization, AuthorizationServer, CheckRequest, CheckResponse, DeniedHttpResponse,
    HeaderValue, HeaderValueOption, HttpResponse, HttpStatus, OkHttpResponse, QueryParameter,
};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::HttpRequest;
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{BoolValue, Struct, Value};
use envoy_types::pb::google::rpc;
use legate_testkit::{Answer, Client, TlsOptions};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::transport::server::TcpIncoming;

use crate::harness::{Case, Gate, base, short, upstream_header};
use crate::wire::{Log, within};

/// An authorisation service: gives every check the same answer, and remembers the checks.
pub(crate) struct Oracle {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<CheckRequest>>>,
    task: JoinHandle<()>,
}

impl Drop for Oracle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Service {
    answer: Result<CheckResponse, tonic::Code>,
    after: Duration,
    asked: Arc<Mutex<Vec<CheckRequest>>>,
}

#[tonic::async_trait]
impl Authorization for Service {
    async fn check(
        &self,
        request: tonic::Request<CheckRequest>,
    ) -> Result<tonic::Response<CheckResponse>, tonic::Status> {
        self.asked.lock().unwrap().push(request.into_inner());
        tokio::time::sleep(self.after).await;
        match &self.answer {
            Ok(answer) => Ok(tonic::Response::new(answer.clone())),
            Err(code) => Err(tonic::Status::new(*code, "no")),
        }
    }
}

impl Oracle {
    pub(crate) async fn says(answer: CheckResponse) -> Self {
        Self::answers(Ok(answer), Duration::ZERO, "127.0.0.1:0").await
    }

    pub(crate) async fn answers(
        answer: Result<CheckResponse, tonic::Code>,
        after: Duration,
        address: &str,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let service = Service {
            answer,
            after,
            asked: Arc::clone(&asked),
        };
        let server = tonic::transport::Server::builder()
            .add_service(AuthorizationServer::new(service))
            .serve_with_incoming(TcpIncoming::from(listener));
        let task = tokio::spawn(async move { server.await.unwrap() });
        Self {
            address,
            asked,
            task,
        }
    }

    pub(crate) fn asked(&self) -> Vec<CheckRequest> {
        self.asked.lock().unwrap().clone()
    }

    /// The only check, taken out.
    fn check(&self) -> CheckRequest {
        let mut asked = self.asked.lock().unwrap();
        assert_eq!(asked.len(), 1, "{asked:?}");
        asked.remove(0)
    }

    /// What the only check says about the request.
    pub(crate) fn http(&self) -> HttpRequest {
        let attributes = self.check().attributes.unwrap();
        attributes.request.unwrap().http.unwrap()
    }
}

pub(crate) fn answer(code: i32, then: Option<HttpResponse>) -> CheckResponse {
    CheckResponse {
        status: Some(rpc::Status {
            code,
            ..rpc::Status::default()
        }),
        http_response: then,
        dynamic_metadata: None,
    }
}

pub(crate) fn ok(then: OkHttpResponse) -> CheckResponse {
    answer(0, Some(HttpResponse::OkResponse(then)))
}

pub(crate) fn denied(status: i32, headers: &[(&str, &str)], body: &str) -> CheckResponse {
    let headers = headers.iter().map(|(key, value)| set(key, value));
    answer(
        7,
        Some(HttpResponse::DeniedResponse(DeniedHttpResponse {
            status: (status != 0).then_some(HttpStatus { code: status }),
            headers: headers.collect(),
            body: body.to_owned(),
        })),
    )
}

pub(crate) fn set(key: &str, value: &str) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue {
            key: key.to_owned(),
            value: value.to_owned(),
            ..HeaderValue::default()
        }),
        ..HeaderValueOption::default()
    }
}

#[allow(deprecated, reason = "what services of today send")]
fn append(key: &str, value: &str) -> HeaderValueOption {
    HeaderValueOption {
        append: Some(BoolValue { value: true }),
        ..set(key, value)
    }
}

/// Adds an AuthService that is this oracle, with further fields.
pub(crate) fn asks(case: Case, name: &str, oracle: &Oracle, spec: &str) -> Case {
    let spec = format!(
        "auth_service: {}\nproto: grpc\nprotocol_version: v3\n{spec}",
        oracle.address
    );
    case.object("AuthService", name, &spec)
}

/// A guarded Mapping `/` with backend `a`.
pub(crate) async fn guarded(oracle: &Oracle, spec: &str) -> Gate {
    let case = base().map("a", "prefix: /\nrewrite: \"\"");
    asks(case, "auth", oracle, spec).start().await
}

/// How often checks ended so.
pub(crate) async fn counted(gate: &Gate, oracle: &Oracle, result: &str) -> u64 {
    let cluster = oracle.address.to_string().replace(['.', ':'], "_");
    let name = format!("legate_ext_authz_total{{cluster=\"{cluster}\",result=\"{result}\"}}");
    gate.metric(&name).await
}

async fn allowing(then: OkHttpResponse, request: &str) -> Answer {
    let oracle = Oracle::says(ok(then)).await;
    let gate = guarded(&oracle, "").await;
    gate.send(8080, request).await
}

#[tokio::test]
async fn a_16_what_a_check_is_told() {
    let oracle = Oracle::says(answer(0, None)).await;
    let case = base().map(
        "a",
        "prefix: /\nrewrite: /else/\nauth_context_extensions: {team: a}",
    );
    let gate = asks(case, "auth", &oracle, "").start().await;
    let request = "/a/../b?x=1 peer=192.0.2.5 host=T.test x-forwarded-for:198.51.100.1 x-a:1 x-a:2";
    gate.rows(8080, &[(request, "a:/else/b?x=1")]).await;
    let check = oracle.check().attributes.unwrap();
    assert_eq!(check.context_extensions["team"], "a");
    let [source, destination] = [check.source.unwrap(), check.destination.unwrap()];
    let address = |peer: &envoy_types::pb::envoy::service::auth::v3::attribute_context::Peer| {
        format!("{:?}", peer.address)
    };
    assert!(address(&source).contains("192.0.2.5"), "{source:?}");
    let port = gate.address(8080).port().to_string();
    assert!(address(&destination).contains(&port), "{destination:?}");
    assert!(source.principal.is_empty() && destination.principal.is_empty());
    let request = check.request.unwrap();
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let told = request.time.unwrap().seconds.unsigned_abs();
    assert!(since.as_secs() - told < 600, "{told}");
    let http = request.http.unwrap();
    assert!(http.id.parse::<u64>().is_ok(), "{}", http.id);
    assert_eq!(
        (http.method.as_str(), http.path.as_str()),
        ("GET", "/b?x=1")
    );
    assert_eq!(
        (http.host.as_str(), http.scheme.as_str()),
        ("t.test", "http")
    );
    assert_eq!((http.query.as_str(), http.fragment.as_str()), ("", ""));
    assert_eq!((http.protocol.as_str(), http.size), ("HTTP/1.1", 0));
    assert_eq!(http.body, "");
    for (name, value) in [
        (":method", "GET"),
        (":path", "/b?x=1"),
        (":authority", "t.test"),
        (":scheme", "http"),
        ("x-a", "1,2"),
        ("x-forwarded-for", "198.51.100.1,192.0.2.5"),
        ("x-forwarded-proto", "http"),
    ] {
        assert_eq!(
            http.headers.get(name).map(String::as_str),
            Some(value),
            "{name}: {:?}",
            http.headers
        );
    }
    assert!(!http.headers.contains_key("host"));
    assert!(!http.headers.contains_key("x-envoy-auth-partial-body"));
    assert_eq!(http.headers["x-request-id"].len(), 36);
}

#[tokio::test]
async fn a_16_http2_and_tls() {
    let oracle = Oracle::says(answer(0, None)).await;
    let case = base()
        .l8443()
        .tls_host(
            "tls",
            "a.test",
            "requestPolicy: {insecure: {action: Route}}",
        )
        .map("a", "prefix: /");
    let gate = asks(case, "auth", &oracle, "").start().await;
    let h2 = TlsOptions {
        alpn: vec!["h2".into()],
        ..TlsOptions::sni("a.test")
    };
    let mut client = Client::connect_tls(gate.address(8443), &h2).await.unwrap();
    let answer = within(client.get("a.test", "/")).await.unwrap();
    assert_eq!(short(&answer), "a:/");
    let check = oracle.check().attributes.unwrap();
    assert_eq!(check.destination.unwrap().principal, "a.test");
    let http = check.request.unwrap().http.unwrap();
    assert_eq!(
        (http.protocol.as_str(), http.scheme.as_str()),
        ("HTTP/2", "https")
    );
    assert_eq!(http.headers[":authority"], "a.test");
}

#[tokio::test]
async fn a_17_the_denial_reaches_the_client() {
    let mut log = Log::new();
    let settings = log.with("");
    let headers = [
        ("x-e", "1"),
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
        ("content-length", "999"),
        ("bad name", "x"),
    ];
    let oracle = Oracle::says(denied(401, &headers, "b")).await;
    let case = base().module(&settings).map(
        "a",
        "prefix: /\nadd_response_headers: {x-added: {value: extra}}",
    );
    let gate = asks(case, "auth", &oracle, "").start().await;
    let answer = gate.send(8080, "/").await;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (401, "b"));
    assert_eq!(answer.header("x-e"), Some("1"));
    assert_eq!(answer.header("x-added"), Some("extra"));
    assert_eq!(answer.header("content-length"), Some("1"));
    assert_eq!(answer.header("content-type"), Some("text/plain"));
    assert_eq!(answer.headers.get_all("set-cookie").iter().count(), 2);
    let line = log.line().await;
    assert!(line.contains(" 401 UAEX "), "{line}");
    // HTTP/2 is the same, and gRPC learns it in its own way.
    let mut client = Client::connect_h2c(gate.address(8080)).await.unwrap();
    let answer = within(client.get("t", "/")).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (401, "b"));
    let answer = gate
        .send(8080, "POST / content-type:application/grpc")
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("grpc-status"), Some("16"));
    assert_eq!(answer.header("grpc-message"), Some("b"));
}

#[tokio::test]
async fn a_17_a_denial_without_status() {
    for (says, expected) in [
        (answer(7, None), 403),
        (denied(0, &[], ""), 403),
        (denied(42, &[], ""), 403),
        (denied(302, &[("location", "/login")], ""), 302),
        // The status decides, whatever else is said.
        (
            answer(
                16,
                Some(HttpResponse::OkResponse(OkHttpResponse::default())),
            ),
            403,
        ),
    ] {
        let oracle = Oracle::says(says).await;
        let gate = guarded(&oracle, "").await;
        let answer = gate.send(8080, "/").await;
        assert_eq!(answer.status, expected);
    }
    let both = CheckResponse {
        status: None,
        ..denied(401, &[], "no")
    };
    let oracle = Oracle::says(both).await;
    guarded(&oracle, "").await.rows(8080, &[("/", "a:/")]).await;
}

#[tokio::test]
async fn a_18_headers_to_remove() {
    let names = ["authorization", "Host", ":path", "X-Gone", "no name"];
    let then = OkHttpResponse {
        headers_to_remove: names.map(str::to_owned).to_vec(),
        ..OkHttpResponse::default()
    };
    let answer = allowing(then, "/p authorization:secret x-gone:1 x-stays:1").await;
    assert_eq!(short(&answer), "a:/p");
    assert!(upstream_header(&answer, "authorization").is_empty());
    assert!(upstream_header(&answer, "x-gone").is_empty());
    assert_eq!(upstream_header(&answer, "x-stays"), ["1"]);
    assert_eq!(answer.json()["host"], "t");
}

#[tokio::test]
async fn a_03_headers_for_the_upstream() {
    let then = OkHttpResponse {
        headers: vec![
            set("x-user", "ann"),
            append("x-list", "2"),
            append("x-new", "n"),
            set("x-empty", ""),
            set("x-bad", "a\r\nb: c"),
            set("host", "other"),
        ],
        ..OkHttpResponse::default()
    };
    let answer = allowing(then, "/ x-user:eve x-list:1 x-empty:admin").await;
    assert_eq!(short(&answer), "a:/");
    for (name, values) in [
        ("x-user", &["ann"][..]),
        ("x-list", &["1,2"]),
        ("x-new", &["n"]),
        ("x-empty", &[""]),
        ("x-bad", &[]),
    ] {
        assert_eq!(upstream_header(&answer, name), values, "{name}");
    }
    assert_eq!(answer.json()["host"], "t");
}

#[tokio::test]
async fn response_headers_and_query_parameters() {
    let parameter = |key: &str, value: &str| QueryParameter {
        key: key.to_owned(),
        value: value.to_owned(),
    };
    let then = OkHttpResponse {
        response_headers_to_add: vec![
            append("set-cookie", "a=1"),
            append("set-cookie", "b=2"),
            set("x-seen", "yes"),
            set("content-length", "1"),
        ],
        query_parameters_to_set: vec![parameter("user", "ann lee")],
        query_parameters_to_remove: vec!["token".to_owned()],
        ..OkHttpResponse::default()
    };
    let oracle = Oracle::says(ok(then)).await;
    let case = base()
        .map("a", "prefix: /")
        .map("ann", "prefix: /\nquery_parameters: {user: \"ann%20lee\"}");
    let gate = asks(case, "auth", &oracle, "").start().await;
    let answer = gate.send(8080, "/p?token=s&a=1&user=eve").await;
    assert!(
        short(&answer).ends_with(":/p?a=1&user=ann%20lee"),
        "{}",
        short(&answer)
    );
    assert_eq!(answer.header("x-seen"), Some("yes"));
    assert_eq!(answer.headers.get_all("set-cookie").iter().count(), 2);
    // Replies of ours have them, too: the request did pass.
    let then = OkHttpResponse {
        headers: vec![set("x-tier", "none")],
        response_headers_to_add: vec![set("x-seen", "yes")],
        ..OkHttpResponse::default()
    };
    let oracle = Oracle::says(ok(then)).await;
    let case = base().map("only", "prefix: /\nregex_headers: {x-tier: \"silver\"}");
    let gate = asks(case, "auth", &oracle, "").start().await;
    let answer = gate.send(8080, "/ x-tier:silver").await;
    assert_eq!(answer.status, 404);
    assert_eq!(answer.header("x-seen"), Some("yes"));
}

#[tokio::test]
async fn metadata_is_for_access_logs() {
    let text = |text: &str| Value {
        kind: Some(Kind::StringValue(text.to_owned())),
    };
    let says = CheckResponse {
        dynamic_metadata: Some(Struct {
            fields: [("user".to_owned(), text("ann"))].into(),
        }),
        ..answer(0, None)
    };
    let mut log = Log::new();
    let settings =
        log.with("envoy_log_format: \"<%DYNAMIC_METADATA(envoy.filters.http.ext_authz:user)%>\"");
    let oracle = Oracle::says(says).await;
    let case = base().module(&settings).map("a", "prefix: /");
    let gate = asks(case, "auth", &oracle, "").start().await;
    gate.rows(8080, &[("/", "a:/")]).await;
    let line = log.line().await;
    assert_eq!(line.trim(), "<ann>");
}
