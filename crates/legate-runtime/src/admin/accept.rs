//! Accepts admin connections within limits and serves HTTP/1.1 on them.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::Router;
use axum::extract::ConnectInfo;
use futures_util::future::join_all;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, oneshot};

use crate::task;

/// Connections open at once over all addresses; more wait in the backlog.
const MAX_CONNECTIONS: usize = 256;

/// How long a request's head may take; idle connections are closed after it too.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a connection may last, so that one that never reads its answer ends.
const MAX_AGE: Duration = Duration::from_secs(300);

/// Bytes of a request's head.
const MAX_HEAD: usize = 32 << 10;

/// Pause after a failed accept, which usually means that file descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until told to stop; the thread's whole life.
pub(super) fn run(listeners: Vec<TcpListener>, routes: Router, stop: oneshot::Receiver<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "Admin server could not start");
            return;
        }
    };
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let serve = async {
        let all = listeners
            .into_iter()
            .map(|listener| serve_listener(listener, routes.clone(), Arc::clone(&connections)));
        // Stopping drops the loops and, with the runtime, what they have accepted.
        tokio::select! {
            _ = join_all(all) => {}
            _ = stop => {}
        }
    };
    runtime.block_on(serve);
    runtime.shutdown_background();
}

async fn serve_listener(listener: TcpListener, routes: Router, connections: Arc<Semaphore>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "Admin address could not be served");
            return;
        }
    };
    loop {
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let routes = routes.clone();
                task::spawn("admin connection", async move {
                    let served = serve_connection(stream, peer, routes);
                    // The end of its time drops the connection; nothing else is lost.
                    let _ = tokio::time::timeout(MAX_AGE, served).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "Admin connection was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_connection(stream: TcpStream, peer: SocketAddr, routes: Router) {
    let service = TowerToHyperService::new(routes.layer(Extension(ConnectInfo(peer))));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(client.addr = %peer, %error, "Admin connection failed");
    }
}
