//! An origin that says what it got.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// Starts an origin: it answers 200 with its name, the request line, the headers and the body, one
/// per line. `/slow` takes half a second; `/gone` closes instead; `/chunked` answers in chunks;
/// `/endless` sends the beginning of a long body; an upgrade is answered and then echoed in upper
/// case.
pub(crate) fn start(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            std::thread::spawn(move || serve(name, &stream));
        }
    });
    address
}

fn serve(name: &str, stream: &TcpStream) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let mut seen = format!("{name}\n{}\n", line.trim());
        let (mut length, mut chunked, mut upgrade) = (0, false, false);
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).ok()?;
            let header = header.trim();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length: ") {
                length = value.parse().unwrap();
            }
            chunked |= header == "transfer-encoding: chunked";
            upgrade |= header.starts_with("upgrade: ");
            seen.push_str(header);
            seen.push('\n');
        }
        let mut body = Vec::new();
        if chunked {
            loop {
                let mut size = String::new();
                reader.read_line(&mut size).ok()?;
                let size = usize::from_str_radix(size.trim(), 16).ok()?;
                let mut chunk = vec![0; size + 2];
                reader.read_exact(&mut chunk).ok()?;
                if size == 0 {
                    break;
                }
                body.extend_from_slice(&chunk[..size]);
            }
        } else {
            body.resize(length, 0);
            reader.read_exact(&mut body).ok()?;
        }
        seen.push_str(&String::from_utf8_lossy(&body));
        if upgrade && !line.contains("/refuse") {
            return echo(reader, writer);
        }
        if line.contains("/slow") {
            std::thread::sleep(Duration::from_millis(500));
        }
        if line.contains("/gone") {
            return None;
        }
        let answer = if line.contains("/chunked") {
            format!(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nkeep-alive: timeout=1\r\n\r\n{:x}\r\n{seen}\r\n0\r\n\r\n",
                seen.len()
            )
        } else if line.contains("/endless") {
            "HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\nbegin".to_owned()
        } else if line.starts_with("HEAD") {
            "HTTP/1.1 200 OK\r\ncontent-length: 77\r\n\r\n".to_owned()
        } else if line.contains("/304") {
            "HTTP/1.1 304 Not Modified\r\ncontent-length: 77\r\netag: x\r\n\r\n".to_owned()
        } else {
            format!(
                "HTTP/1.1 200 OK\r\nserver: origin\r\ncontent-length: {}\r\n\r\n{seen}",
                seen.len()
            )
        };
        writer.write_all(answer.as_bytes()).ok()?;
    }
}

fn echo(mut reader: BufReader<&TcpStream>, mut writer: &TcpStream) -> Option<()> {
    writer
        .write_all(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
        .ok()?;
    let mut chunk = [0; 1024];
    loop {
        let n = reader.read(&mut chunk).ok()?;
        if n == 0 {
            // Half-closed by the client; a last word, then we close too.
            writer.write_all(b"BYE").ok()?;
            return None;
        }
        writer.write_all(&chunk[..n].to_ascii_uppercase()).ok()?;
    }
}
