//! A real gRPC server and client: tonic's, with a service written by hand.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use http::uri::PathAndQuery;
use tokio::sync::Semaphore;
use tonic::codegen::{BoxFuture, Service};
use tonic::server::{
    ClientStreamingService, Grpc, NamedService, ServerStreamingService, StreamingService,
    UnaryService,
};
use tonic::transport::Channel;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

/// The one message of the service.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Note {
    #[prost(string, tag = "1")]
    pub(crate) text: String,
    #[prost(uint32, tag = "2")]
    pub(crate) number: u32,
}

/// A note.
pub(crate) fn note(text: &str, number: u32) -> Note {
    Note {
        text: text.to_owned(),
        number,
    }
}

/// `test.Echo`: `Say` and `Fail` are unary, `Count` streams to the client, `Sum` from it, `Chat` both
/// ways.
#[derive(Clone)]
pub(crate) struct Echo {
    /// `Count` takes one for each of its notes.
    pub(crate) steps: Arc<Semaphore>,
}

/// A server on a port of its own; it ends with the test.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) steps: Arc<Semaphore>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let steps = Arc::new(Semaphore::new(0));
        let echo = Echo {
            steps: Arc::clone(&steps),
        };
        let task = tokio::spawn(async move {
            tonic::transport::Server::builder()
                .add_service(echo)
                .serve_with_incoming(TcpIncoming::from(listener))
                .await
                .unwrap();
        });
        Self {
            address,
            steps,
            task,
        }
    }
}

impl NamedService for Echo {
    const NAME: &'static str = "test.Echo";
}

type Body = tonic::body::Body;
type Notes = stream::BoxStream<'static, Result<Note, Status>>;

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let echo = self.clone();
        Box::pin(async move {
            let mut grpc = Grpc::new(ProstCodec::<Note, Note>::default());
            Ok(match request.uri().path() {
                "/test.Echo/Say" => grpc.unary(Say, request).await,
                "/test.Echo/Fail" => grpc.unary(Fail, request).await,
                "/test.Echo/Count" => grpc.server_streaming(Count(echo), request).await,
                "/test.Echo/Sum" => grpc.client_streaming(Sum, request).await,
                "/test.Echo/Chat" => grpc.streaming(Chat, request).await,
                _ => Status::unimplemented("no such method").into_http(),
            })
        })
    }
}

struct Say;
struct Fail;
struct Count(Echo);
struct Sum;
struct Chat;

/// Sends the note back, after `number` milliseconds; with what came in metadata.
impl UnaryService<Note> for Say {
    type Response = Note;
    type Future = BoxFuture<Response<Note>, Status>;

    fn call(&mut self, request: Request<Note>) -> Self::Future {
        Box::pin(async move {
            let metadata = request.metadata().clone();
            let wait = u64::from(request.get_ref().number);
            tokio::time::sleep(Duration::from_millis(wait)).await;
            let mut response = Response::new(request.into_inner());
            for name in ["te", "content-type", "x-user"] {
                if let Some(value) = metadata.get(name) {
                    let name = format!("x-saw-{name}");
                    let name: tonic::metadata::MetadataKey<_> = name.parse().unwrap();
                    response.metadata_mut().insert(name, value.clone());
                }
            }
            Ok(response)
        })
    }
}

/// Fails with the status of that number.
impl UnaryService<Note> for Fail {
    type Response = Note;
    type Future = BoxFuture<Response<Note>, Status>;

    fn call(&mut self, request: Request<Note>) -> Self::Future {
        let note = request.into_inner();
        let code = Code::from(i32::try_from(note.number).unwrap());
        Box::pin(async move { Err(Status::new(code, note.text)) })
    }
}

/// Sends as many notes, each once somebody allows it; then fails if the text says so.
impl ServerStreamingService<Note> for Count {
    type Response = Note;
    type ResponseStream = Notes;
    type Future = BoxFuture<Response<Notes>, Status>;

    fn call(&mut self, request: Request<Note>) -> Self::Future {
        let steps = Arc::clone(&self.0.steps);
        let Note { text, number } = request.into_inner();
        let notes = stream::iter(0..number).then(move |n| {
            let steps = Arc::clone(&steps);
            async move {
                steps.acquire().await.unwrap().forget();
                Ok(note("", n))
            }
        });
        let end = (text == "fail").then(|| Err(Status::data_loss("lost")));
        Box::pin(async move { Ok(Response::new(notes.chain(stream::iter(end)).boxed())) })
    }
}

/// Adds numbers.
impl ClientStreamingService<Note> for Sum {
    type Response = Note;
    type Future = BoxFuture<Response<Note>, Status>;

    fn call(&mut self, request: Request<Streaming<Note>>) -> Self::Future {
        Box::pin(async move {
            let mut notes = request.into_inner();
            let mut sum = 0;
            while let Some(note) = notes.message().await? {
                sum += note.number;
            }
            Ok(Response::new(note("sum", sum)))
        })
    }
}

/// Sends each note back.
impl StreamingService<Note> for Chat {
    type Response = Note;
    type ResponseStream = Notes;
    type Future = BoxFuture<Response<Notes>, Status>;

    fn call(&mut self, request: Request<Streaming<Note>>) -> Self::Future {
        Box::pin(async move { Ok(Response::new(request.into_inner().boxed())) })
    }
}

/// A client of the service.
pub(crate) struct EchoClient(tonic::client::Grpc<Channel>);

impl EchoClient {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let endpoint = tonic::transport::Endpoint::new(format!("http://{address}")).unwrap();
        Self(tonic::client::Grpc::new(endpoint.connect().await.unwrap()))
    }

    pub(crate) async fn unary(
        &mut self,
        method: &'static str,
        request: Request<Note>,
    ) -> Result<Response<Note>, Status> {
        self.0.ready().await.unwrap();
        let path = PathAndQuery::from_static(method);
        self.0.unary(request, path, ProstCodec::default()).await
    }

    pub(crate) async fn count(&mut self, ask: Note) -> Result<Streaming<Note>, Status> {
        self.0.ready().await.unwrap();
        let path = PathAndQuery::from_static("/test.Echo/Count");
        let codec = ProstCodec::<Note, Note>::default();
        let response = self
            .0
            .server_streaming(Request::new(ask), path, codec)
            .await;
        response.map(Response::into_inner)
    }

    pub(crate) async fn sum(
        &mut self,
        notes: impl Stream<Item = Note> + Send + 'static,
    ) -> Result<Note, Status> {
        self.0.ready().await.unwrap();
        let path = PathAndQuery::from_static("/test.Echo/Sum");
        let codec = ProstCodec::<Note, Note>::default();
        let response = self
            .0
            .client_streaming(Request::new(notes), path, codec)
            .await;
        response.map(Response::into_inner)
    }

    pub(crate) async fn chat(
        &mut self,
        notes: impl Stream<Item = Note> + Send + 'static,
    ) -> Result<Streaming<Note>, Status> {
        self.0.ready().await.unwrap();
        let path = PathAndQuery::from_static("/test.Echo/Chat");
        let codec = ProstCodec::<Note, Note>::default();
        let response = self.0.streaming(Request::new(notes), path, codec).await;
        response.map(Response::into_inner)
    }
}

/// A note as a message of a gRPC stream.
pub(crate) fn message(note: &Note) -> Vec<u8> {
    let note = prost::Message::encode_to_vec(note);
    let mut bytes = vec![0];
    bytes.extend(u32::try_from(note.len()).unwrap().to_be_bytes());
    bytes.extend(note);
    bytes
}

/// The messages of a gRPC stream: flag and content of each.
pub(crate) fn messages(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut found = Vec::new();
    while let [flag, a, b, c, d, rest @ ..] = bytes {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        found.push((*flag, rest[..length].to_vec()));
        bytes = &rest[length..];
    }
    assert!(bytes.is_empty(), "{bytes:?} is no message");
    found
}

/// What a message says.
pub(crate) fn read(bytes: &[u8]) -> Note {
    prost::Message::decode(bytes).unwrap()
}
