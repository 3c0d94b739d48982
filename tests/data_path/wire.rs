//! What the tests of bad input share: raw bytes on a socket, HTTP/2 frames by hand, a sentinel that
//! nothing may disturb, and the lines of an access log.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use legate_testkit::{Client, TlsOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::harness::{Case, Gate, base, short};

/// What must happen at all happens within this time.
const LIMIT: Duration = Duration::from_secs(30);

/// Waits for something that must happen.
pub(crate) async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, what)
        .await
        .expect("this must not take 30 s")
}

/// A gateway with cleartext on 8080 and TLS for `a.test` on 8443, and a Mapping for the sentinel.
pub(crate) fn guarded() -> Case {
    base()
        .l8443()
        .tls_host(
            "tls",
            "a.test",
            "requestPolicy: {insecure: {action: Route}}",
        )
        .map("sentinel", "prefix: /sentinel/")
}

/// Connections of well-behaved clients, opened before something bad happens.
pub(crate) struct Sentinel(Vec<Client>);

impl Sentinel {
    /// Opens them; the gateway is a [`guarded`] one.
    pub(crate) async fn open(gate: &Gate) -> Self {
        let h2 = TlsOptions {
            alpn: vec!["h2".into()],
            ..TlsOptions::sni("a.test")
        };
        let mut sentinel = Self(vec![
            Client::connect(gate.address(8080)).await.unwrap(),
            Client::connect_h2c(gate.address(8080)).await.unwrap(),
            Client::connect_tls(gate.address(8443), &TlsOptions::sni("a.test"))
                .await
                .unwrap(),
            Client::connect_tls(gate.address(8443), &h2).await.unwrap(),
        ]);
        sentinel.check("at first").await;
        sentinel
    }

    /// Each of them is still answered.
    pub(crate) async fn check(&mut self, when: &str) {
        for client in &mut self.0 {
            let answer = within(client.get("a.test", "/sentinel/x")).await;
            assert_eq!(short(&answer.expect(when)), "sentinel:/x", "{when}");
        }
    }
}

/// Waits until a count does not grow although the gateway is busy with other things meanwhile.
pub(crate) async fn stalled(sentinel: &mut Sentinel, count: impl Fn() -> u64) -> u64 {
    let mut last = count();
    loop {
        for _ in 0..20 {
            sentinel.check("during a stall").await;
        }
        let now = count();
        if now == last && now > 0 {
            return now;
        }
        last = now;
    }
}

/// A client of bytes.
pub(crate) struct Wire {
    stream: TcpStream,
    unread: Vec<u8>,
}

/// A response as it came.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Names are lower-case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(other, _)| other == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl Wire {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::on(TcpStream::connect(address).await.unwrap())
    }

    /// With a small receive buffer, for a client that does not read.
    pub(crate) async fn connect_narrow(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(64 * 1024).unwrap();
        socket.set_send_buffer_size(64 * 1024).unwrap();
        Self::on(socket.connect(address).await.unwrap())
    }

    fn on(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            unread: Vec::new(),
        }
    }

    pub(crate) async fn say(&mut self, bytes: impl AsRef<[u8]>) {
        within(self.stream.write_all(bytes.as_ref())).await.unwrap();
    }

    /// Writes what can be written; the other side may close meanwhile.
    pub(crate) async fn try_say(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        within(self.stream.write_all(bytes.as_ref())).await
    }

    /// Writes, however long it takes.
    pub(crate) async fn say_slowly(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Ends our half, unless the other side has closed.
    pub(crate) async fn try_finish(&mut self) -> io::Result<()> {
        within(self.stream.shutdown()).await
    }

    /// Ends our half.
    pub(crate) async fn finish(&mut self) {
        within(self.stream.shutdown()).await.unwrap();
    }

    async fn more(&mut self) -> usize {
        within(self.stream.read_buf(&mut self.unread))
            .await
            .unwrap_or(0)
    }

    /// Reads a response's head, the blank line included.
    pub(crate) async fn head(&mut self) -> String {
        loop {
            if let Some(end) = self
                .unread
                .windows(4)
                .position(|window| window == b"\r\n\r\n")
            {
                let head: Vec<u8> = self.unread.drain(..end + 4).collect();
                return String::from_utf8(head).unwrap();
            }
            let so_far = String::from_utf8_lossy(&self.unread).into_owned();
            assert_ne!(self.more().await, 0, "closed after `{so_far}`");
        }
    }

    /// Reads a response of known length, one that has no body included.
    pub(crate) async fn response(&mut self) -> Response {
        self.response_to("GET").await
    }

    /// The same for a method.
    pub(crate) async fn response_to(&mut self, method: &str) -> Response {
        let head = self.head().await;
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        let status = status.and_then(|status| status.parse().ok()).expect(&head);
        let headers: Vec<_> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let mut response = Response {
            status,
            headers,
            body: Vec::new(),
        };
        let length = response
            .header("content-length")
            .and_then(|length| length.parse().ok());
        if let Some(length) = length
            && method != "HEAD"
            && status != 304
        {
            while self.unread.len() < length {
                assert_ne!(self.more().await, 0, "closed within the body of {head}");
            }
            response.body = self.unread.drain(..length).collect();
        }
        response
    }

    /// Reads exactly so many bytes.
    pub(crate) async fn take(&mut self, bytes: usize) -> Vec<u8> {
        while self.unread.len() < bytes {
            assert_ne!(
                self.more().await,
                0,
                "closed after {} bytes",
                self.unread.len()
            );
        }
        self.unread.drain(..bytes).collect()
    }

    /// Reads and counts to the end, without keeping anything.
    pub(crate) async fn count_rest(&mut self) -> u64 {
        let mut count = 0;
        loop {
            count += self.unread.len() as u64;
            self.unread.clear();
            if self.more().await == 0 {
                return count;
            }
        }
    }

    /// Reads until the gateway closes; a reset is a close as well.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while self.more().await > 0 {}
        std::mem::take(&mut self.unread)
    }

    /// The same as text.
    pub(crate) async fn rest_text(&mut self) -> String {
        String::from_utf8_lossy(&self.rest().await).into_owned()
    }
}

/// One exchange of bytes on a fresh connection, to its close.
pub(crate) async fn exchange(address: SocketAddr, bytes: impl AsRef<[u8]>) -> String {
    let mut wire = Wire::connect(address).await;
    wire.say(bytes).await;
    wire.rest_text().await
}

/// HTTP/2 by hand.
pub(crate) mod frames {
    use super::Wire;

    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const RST_STREAM: u8 = 3;
    pub(crate) const SETTINGS: u8 = 4;
    pub(crate) const PING: u8 = 6;
    pub(crate) const GOAWAY: u8 = 7;
    pub(crate) const CONTINUATION: u8 = 9;
    pub(crate) const END_STREAM: u8 = 1;
    pub(crate) const END_HEADERS: u8 = 4;
    pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

    /// A frame as it came.
    #[derive(Debug)]
    pub(crate) struct Frame {
        pub(crate) kind: u8,
        pub(crate) flags: u8,
        pub(crate) stream: u32,
        pub(crate) payload: Vec<u8>,
    }

    /// A frame to send.
    pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags];
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        frame
    }

    /// The preface and empty settings.
    pub(crate) fn opening() -> Vec<u8> {
        [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()
    }

    /// A header block: literals without indexing, each shorter than 127 bytes.
    pub(crate) fn block(headers: &[(&str, &str)]) -> Vec<u8> {
        let mut block = Vec::new();
        for (name, value) in headers {
            block.push(0);
            for text in [name, value] {
                assert!(text.len() < 127);
                block.push(u8::try_from(text.len()).unwrap());
                block.extend(text.bytes());
            }
        }
        block
    }

    /// A GET of the sentinel's path with further headers, complete.
    pub(crate) fn get(stream: u32, more: &[(&str, &str)]) -> Vec<u8> {
        let mut headers = vec![
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "a.test"),
            (":path", "/sentinel/x"),
        ];
        headers.extend(more);
        frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&headers))
    }

    impl Wire {
        /// The next frame; `None` when the gateway closed.
        pub(crate) async fn frame(&mut self) -> Option<Frame> {
            while self.unread.len() < 9 {
                if self.more().await == 0 {
                    return None;
                }
            }
            let head: Vec<u8> = self.unread.drain(..9).collect();
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            while self.unread.len() < length {
                if self.more().await == 0 {
                    return None;
                }
            }
            let payload = self.unread.drain(..length).collect();
            Some(Frame {
                kind: head[3],
                flags: head[4],
                stream,
                payload,
            })
        }

        /// Skips frames until one is as wanted.
        pub(crate) async fn until(&mut self, wanted: impl Fn(&Frame) -> bool) -> Frame {
            let mut others = Vec::new();
            loop {
                match self.frame().await {
                    Some(frame) if wanted(&frame) => return frame,
                    Some(frame) => others.push((frame.kind, frame.stream)),
                    None => panic!("closed after {others:?}"),
                }
            }
        }
    }
}

/// An access log in a file of its own.
pub(crate) struct Log {
    folder: tempfile::TempDir,
    seen: usize,
}

impl Log {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            seen: 0,
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("access.log")
    }

    /// The Module's settings for a JSON log of flags, details and code.
    pub(crate) fn json(&self) -> String {
        self.with(
            "envoy_log_type: json\nenvoy_log_format: {flags: \"%RESPONSE_FLAGS%\", details: \
             \"%RESPONSE_CODE_DETAILS%\", code: \"%RESPONSE_CODE%\"}",
        )
    }

    /// The Module's settings for this log, with these further ones.
    pub(crate) fn with(&self, more: &str) -> String {
        format!("envoy_log_path: \"{}\"\n{more}", self.path().display())
    }

    /// The next line, once it is there.
    pub(crate) async fn line(&mut self) -> String {
        let line = within(async {
            loop {
                let text = tokio::fs::read(self.path()).await.unwrap_or_default();
                let text = String::from_utf8(text).expect("the log is UTF-8");
                if let Some(line) = text.split_inclusive('\n').nth(self.seen)
                    && let Some(line) = line.strip_suffix('\n')
                {
                    break line.to_owned();
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        self.seen += 1;
        line
    }

    /// The next line of [`Self::json`]: code, flags and details.
    pub(crate) async fn reasons(&mut self) -> (u64, String, String) {
        let line = self.line().await;
        let json: serde_json::Value = serde_json::from_str(&line).expect(&line);
        let text = |key: &str| json[key].as_str().unwrap_or_default().to_owned();
        (
            json["code"].as_u64().expect(&line),
            text("flags"),
            text("details"),
        )
    }
}
