//! An API server in memory that does what a real one does only in trouble.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use ::kube::client::Body as RequestBody;
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tower::service_fn;

use super::super::*;

/// A deadline for what should happen at once.
const SOON: Duration = Duration::from_secs(20);

/// The server's side.
pub(super) struct Fake {
    script: Arc<Mutex<Script>>,
    requests: mpsc::UnboundedReceiver<String>,
}

/// How requests are answered.
#[derive(Default)]
struct Script {
    /// Lists by plural name; absent = empty.
    objects: BTreeMap<String, Vec<Value>>,
    /// The next answers to requests whose path and query contain the text.
    once: Vec<(String, u16)>,
    /// Watches that are open, by plural name.
    watches: BTreeMap<String, mpsc::UnboundedSender<Bytes>>,
}

/// A body that ends when its sender is gone.
struct Chunks(mpsc::UnboundedReceiver<Bytes>);

impl Body for Chunks {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let chunk = self.0.poll_recv(context);
        chunk.map(|chunk| chunk.map(|bytes| Ok(Frame::data(bytes))))
    }
}

impl Fake {
    /// A server and a client of it. Needs a runtime.
    pub(super) fn start() -> (Fake, Client) {
        let script = Arc::new(Mutex::new(Script::default()));
        let (told, requests) = mpsc::unbounded_channel();
        let shared = Arc::clone(&script);
        let service = service_fn(move |request: Request<RequestBody>| {
            let path = request.uri().path_and_query().unwrap().to_string();
            let answer = shared.lock().unwrap().answer(&path);
            // Nobody listens any more at the end of a test.
            let _ = told.send(path);
            async move { Ok::<_, std::convert::Infallible>(answer) }
        });
        (Fake { script, requests }, Client::new(service, "default"))
    }

    pub(super) fn put(&self, plural: &str, object: Value) {
        let mut script = self.script.lock().unwrap();
        script
            .objects
            .entry(plural.into())
            .or_default()
            .push(object);
    }

    /// Answers the next request that contains the text with this status.
    pub(super) fn fail_once(&self, text: &str, status: u16) {
        self.script.lock().unwrap().once.push((text.into(), status));
    }

    /// Sends an event on the open watch.
    pub(super) fn send(&self, plural: &str, event: &Value) {
        let line = Bytes::from(format!("{event}\n"));
        self.script.lock().unwrap().watches[plural]
            .send(line)
            .unwrap();
    }

    /// Ends the open watch.
    pub(super) fn cut(&self, plural: &str) {
        self.script.lock().unwrap().watches.remove(plural);
    }

    /// The next request whose path and query contain all of these.
    pub(super) async fn request(&mut self, texts: &[&str]) -> String {
        let found = async {
            loop {
                let path = self.requests.recv().await.expect("the client has ended");
                if texts.iter().all(|text| path.contains(text)) {
                    return path;
                }
            }
        };
        tokio::time::timeout(SOON, found)
            .await
            .expect("no such request")
    }

    /// Waits until nobody can ask any more.
    pub(super) async fn ended(mut self) {
        let ended = async { while self.requests.recv().await.is_some() {} };
        tokio::time::timeout(SOON, ended)
            .await
            .expect("somebody lives on");
    }
}

impl Script {
    fn answer(&mut self, path: &str) -> Response<Chunks> {
        let once = self.once.iter().position(|(text, _)| path.contains(text));
        if let Some((_, status)) = once.map(|index| self.once.remove(index)) {
            return whole(status, &status_object(status));
        }
        let resource = path.split('?').next().unwrap_or_default();
        if let Some(version) = resource.strip_prefix("/apis/")
            && kinds::GROUP_VERSIONS.contains(&version)
        {
            return whole(200, &discovery(version));
        }
        let plural = resource.rsplit('/').next().unwrap_or_default().to_owned();
        if path.contains("watch=true") {
            let (send, receive) = mpsc::unbounded_channel();
            self.watches.insert(plural, send);
            return Response::new(Chunks(receive));
        }
        let items = self.objects.get(&plural).cloned().unwrap_or_default();
        whole(
            200,
            &json!({"kind": "List", "apiVersion": "v1",
            "metadata": {"resourceVersion": "5"}, "items": items}),
        )
    }
}

fn whole(status: u16, body: &Value) -> Response<Chunks> {
    let (send, receive) = mpsc::unbounded_channel();
    send.send(Bytes::from(body.to_string())).unwrap();
    Response::builder()
        .status(status)
        .body(Chunks(receive))
        .unwrap()
}

pub(super) fn status_object(status: u16) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": format!("answered {status}"), "reason": "", "code": status})
}

fn discovery(version: &str) -> Value {
    let resources: Vec<Value> = Kind::ALL
        .iter()
        .filter(|kind| kind.is_ambassador() && kinds::api_version(**kind) == version)
        .map(|kind| {
            json!({"name": kinds::plural(*kind), "singularName": "", "namespaced": true,
                "kind": kind.as_str(), "verbs": ["create", "get", "list", "patch", "watch"]})
        })
        .collect();
    json!({"kind": "APIResourceList", "apiVersion": "v1",
        "groupVersion": version, "resources": resources})
}

/// The next update, which has to come.
pub(super) async fn next(watch: &mut KubeWatch) -> Update {
    let update = tokio::time::timeout(SOON, watch.recv()).await;
    update.expect("no update").expect("the watch has ended")
}
