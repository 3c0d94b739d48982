//! A namespace and an `ambassador_id` of one test.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::objects::condition;
use super::{ApiServer, documents, eventually, netns};
use crate::certs::Pair;
use crate::client::Error;
use crate::origin::{Behaviour, Origin};

/// API groups of our kinds.
const GROUPS: [&str; 2] = ["getambassador.io/", "legate.dev/"];

/// What most tests write.
const VERSION: &str = "getambassador.io/v3alpha1";

/// A namespace that one test has for itself, with an id of the same name.
#[derive(Debug, Clone)]
pub struct Namespace {
    server: Arc<ApiServer>,
    name: String,
    id: String,
}

impl Namespace {
    /// Makes a namespace; its name begins with this word.
    ///
    /// # Errors
    /// The API server's words.
    pub async fn create(server: &Arc<ApiServer>, word: &str) -> Result<Self, Error> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // A DNS label: what does not fit is replaced, and the number keeps it unique.
        let word: String = word
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() {
                    c.to_ascii_lowercase()
                } else {
                    '-'
                }
            })
            .take(40)
            .collect();
        let name = format!("{}-{number}", word.trim_matches('-'));
        let space = Self {
            server: Arc::clone(server),
            id: name.clone(),
            name,
        };
        let manifest = json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space.name},
        });
        server.apply(&[manifest]).await?;
        Ok(space)
    }

    /// Another namespace of the same test, with the same id.
    ///
    /// # Errors
    /// The API server's words.
    pub async fn sibling(&self, word: &str) -> Result<Self, Error> {
        let mut other = Self::create(&self.server, word).await?;
        other.id.clone_from(&self.id);
        Ok(other)
    }

    /// The namespace.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The `ambassador_id` that [`Self::apply`] gives to objects without one.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The API server.
    #[must_use]
    pub fn server(&self) -> &Arc<ApiServer> {
        &self.server
    }

    /// Applies the documents of a YAML stream. An object without a namespace gets this one, an
    /// object of our group without an `ambassador_id` gets this id.
    ///
    /// # Errors
    /// It is not YAML, or an object is refused.
    pub async fn apply(&self, yaml: &str) -> Result<Vec<Value>, Error> {
        let mut objects = documents(yaml)?;
        for object in &mut objects {
            self.complete(object);
        }
        self.server.apply(&objects).await
    }

    /// A Mapping of this prefix to a service.
    ///
    /// # Errors
    /// The API server's words.
    pub async fn mapping(&self, name: &str, prefix: &str, service: &str) -> Result<Value, Error> {
        let mut object = json!({
            "apiVersion": VERSION, "kind": "Mapping", "metadata": {"name": name},
            "spec": {"hostname": "*", "prefix": prefix, "service": service},
        });
        self.complete(&mut object);
        let answer = self.server.apply(&[object]).await?;
        answer.into_iter().next().ok_or_else(|| "no answer".into())
    }

    /// Listener 8080 and a Host that routes cleartext requests for any name.
    ///
    /// # Errors
    /// The API server's words.
    pub async fn cleartext(&self) -> Result<(), Error> {
        let yaml = format!(
            "apiVersion: {VERSION}\nkind: Listener\nmetadata: {{name: http}}\n\
             spec: {{port: 8080, protocol: HTTP, securityModel: XFP, \
             hostBinding: {{namespace: {{from: ALL}}}}}}\n---\n\
             apiVersion: {VERSION}\nkind: Host\nmetadata: {{name: any}}\n\
             spec: {{hostname: \"*\", requestPolicy: {{insecure: {{action: Route}}}}}}\n"
        );
        self.apply(&yaml).await.map(|_objects| ())
    }

    /// An origin on an address of its own, with a headless Service and its EndpointSlice: `NAME:80`.
    /// Without a cluster IP, endpoints are used whatever the resolver.
    ///
    /// # Errors
    /// The API server's words.
    pub async fn backend(&self, name: &str) -> Result<Origin, Error> {
        let listener = TcpListener::bind((netns::address(), 8080)).await?;
        let origin = Origin::serve(name, listener, Behaviour::default(), None);
        self.service(name, &[origin.address()]).await?;
        Ok(origin)
    }

    /// A headless Service `NAME:80` and an EndpointSlice with these endpoints; they share a port.
    ///
    /// # Errors
    /// The API server's words.
    pub async fn service(&self, name: &str, endpoints: &[SocketAddr]) -> Result<(), Error> {
        let port = endpoints.first().map_or(8080, SocketAddr::port);
        let spec = json!({
            "clusterIP": "None", "ports": [{"name": "http", "port": 80, "targetPort": port}],
        });
        self.make_service(name, &spec).await?;
        let addresses: Vec<String> = endpoints.iter().map(|e| e.ip().to_string()).collect();
        self.endpoints(name, port, &addresses).await
    }

    /// A Service `NAME:80` with a cluster IP, and an origin on that very address: what kube-proxy
    /// would lead there does not exist here.
    ///
    /// # Errors
    /// The API server's words.
    pub async fn cluster_backend(&self, name: &str) -> Result<Origin, Error> {
        let spec = json!({"ports": [{"name": "http", "port": 80}]});
        let made = self.make_service(name, &spec).await?;
        let ip = made.pointer("/spec/clusterIP").and_then(Value::as_str);
        let ip: IpAddr = ip.ok_or("the Service has no cluster IP")?.parse()?;
        let listener = TcpListener::bind((ip, 80)).await?;
        Ok(Origin::serve(name, listener, Behaviour::default(), None))
    }

    async fn make_service(&self, name: &str, spec: &Value) -> Result<Value, Error> {
        let service = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": self.name},
            "spec": spec,
        });
        let made = self.server.apply(&[service]).await?;
        made.into_iter().next().ok_or_else(|| "no answer".into())
    }

    /// Replaces the endpoints of a Service.
    ///
    /// # Errors
    /// The API server's words.
    pub async fn endpoints(
        &self,
        service: &str,
        port: u16,
        addresses: &[String],
    ) -> Result<(), Error> {
        let endpoints: Vec<Value> = addresses
            .iter()
            .map(|address| json!({"addresses": [address], "conditions": {"ready": true}}))
            .collect();
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": format!("{service}-1"), "namespace": self.name,
                "labels": {"kubernetes.io/service-name": service},
            },
            "addressType": "IPv4",
            "endpoints": endpoints,
            "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
        });
        self.server.apply(&[slice]).await.map(|_objects| ())
    }

    /// A `kubernetes.io/tls` Secret.
    ///
    /// # Errors
    /// The API server's words.
    pub async fn tls_secret(&self, name: &str, pair: &Pair) -> Result<(), Error> {
        let yaml = pair.secret(&self.name, name);
        self.server.apply_yaml(&yaml).await.map(|_objects| ())
    }

    /// An object of our group in this namespace; `None` if there is none.
    ///
    /// # Errors
    /// The API server's words.
    pub async fn get(&self, kind: &str, name: &str) -> Result<Option<Value>, Error> {
        self.server.get(version(kind), kind, &self.name, name).await
    }

    /// Deletes an object of our group in this namespace.
    ///
    /// # Errors
    /// The API server's words.
    pub async fn delete(&self, kind: &str, name: &str) -> Result<(), Error> {
        self.server
            .delete(version(kind), kind, &self.name, name)
            .await
    }

    /// Waits until a condition at the root of the status has this value at the object's current
    /// generation, and returns the object.
    ///
    /// # Errors
    /// It does not come to be in time; the text has the object's last status.
    pub async fn wait_for(
        &self,
        kind: &str,
        name: &str,
        (type_, status): (&str, &str),
        deadline: Duration,
    ) -> Result<Value, Error> {
        let mut last = Value::Null;
        let what = format!("{kind} {name} has {type_}={status}");
        let found = eventually(&what, deadline, async || {
            let object = self.get(kind, name).await.ok()??;
            last = object.get("status").cloned().unwrap_or_default();
            let current = observed(&object, type_) == object.pointer("/metadata/generation");
            (current && condition(&object, type_) == Some(status)).then_some(object)
        })
        .await;
        found.map_err(|error| format!("{error}; status: {last}").into())
    }

    fn complete(&self, object: &mut Value) {
        let ours = object
            .get("apiVersion")
            .and_then(Value::as_str)
            .is_some_and(|version| GROUPS.iter().any(|group| version.starts_with(group)));
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata
                .entry("namespace")
                .or_insert_with(|| json!(self.name));
        }
        if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut)
            && ours
        {
            spec.entry("ambassador_id")
                .or_insert_with(|| json!([self.id]));
        }
    }
}

/// The version that a kind is read in.
fn version(kind: &str) -> &'static str {
    match kind {
        "RateLimitPolicy" => "legate.dev/v1alpha1",
        _ => VERSION,
    }
}

/// The generation that a condition speaks of.
fn observed<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object
        .pointer("/status/conditions")?
        .as_array()?
        .iter()
        .find(|condition| condition.get("type").and_then(Value::as_str) == Some(kind))?
        .get("observedGeneration")
}
