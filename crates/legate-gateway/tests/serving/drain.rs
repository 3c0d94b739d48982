//! The end.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::snapshot::Build;
use crate::{origin, serve};

#[test]
fn draining_answers_what_was_asked_and_closes_politely() {
    let origin = origin::start("one");
    let served = serve(Build::new(1).route("/", origin).build());
    let address = served.address();
    let mut idle = Client::connect(address);
    let mut busy = Client::connect(address);
    assert_eq!(idle.get("/").status, 200);
    busy.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n");
    std::thread::sleep(Duration::from_millis(100));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let start = Instant::now();
    let draining = runtime.spawn(async move { served.gateway.drain(true).await });
    let last = busy.answer();
    assert_eq!(
        (last.status, last.header("connection")),
        (200, Some("close"))
    );
    assert!(busy.is_closed());
    assert!(TcpStream::connect(address).is_err());
    let last = idle.get("/");
    assert_eq!(
        (last.status, last.header("connection")),
        (200, Some("close"))
    );
    assert!(idle.is_closed());
    runtime.block_on(draining).unwrap();
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn idle_connections_end_with_the_drain_time() {
    let origin = origin::start("one");
    let served = serve(Build::new(1).route("/", origin).build());
    let mut idle = Client::connect(served.address());
    assert_eq!(idle.get("/").status, 200);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let start = Instant::now();
    runtime.block_on(served.gateway.drain(true));
    assert!(start.elapsed() >= Duration::from_secs(3));
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(idle.is_closed());
}

#[test]
fn no_request_is_lost_under_load() {
    let origin = origin::start("one");
    let served = serve(Build::new(1).route("/", origin).build());
    let address = served.address();
    let stop = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..8)
        .map(|turn| {
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    // A refused connection is no lost request: nothing was sent.
                    let Ok(stream) = TcpStream::connect(address) else {
                        return;
                    };
                    stream
                        .set_read_timeout(Some(Duration::from_secs(5)))
                        .unwrap();
                    let mut client = Client::over(stream);
                    loop {
                        let answer = client.get("/");
                        assert_eq!(answer.status, 200);
                        answered.fetch_add(1, Ordering::Relaxed);
                        let closing = answer.header("connection") == Some("close");
                        if closing || turn % 2 == 0 {
                            break;
                        }
                    }
                }
            })
        })
        .collect();
    std::thread::sleep(Duration::from_millis(300));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(served.gateway.drain(true));
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().unwrap();
    }
    assert!(answered.load(Ordering::Relaxed) > 50);
}
