//! Connections to an upstream for what is not HTTP, e.g. the store of rate limits.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::cluster::ClusterHandle;

/// How long a name's first resolution is waited for.
const RESOLVE: Duration = Duration::from_secs(5);

/// A connection, cleartext or TLS.
pub(crate) trait SideStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> SideStream for T {}

/// Connects to the first endpoint of a cluster that can be reached. The caller limits the time.
///
/// # Errors
/// There is no endpoint, or none that can be reached.
pub(crate) async fn side_stream(cluster: &ClusterHandle) -> io::Result<Box<dyn SideStream>> {
    cluster.endpoints.settled(RESOLVE).await;
    let addresses: Vec<_> = cluster.endpoints.list().addresses().collect();
    let tls = cluster.transport.load().tls.clone();
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        let tcp = match TcpStream::connect(address).await {
            Ok(tcp) => tcp,
            Err(error) => {
                last = error;
                continue;
            }
        };
        let _ = tcp.set_nodelay(true);
        let Some(tls) = &tls else {
            return Ok(Box::new(tcp));
        };
        match tls
            .connector(false)
            .connect(tls.server_name(address), tcp)
            .await
        {
            Ok(stream) => return Ok(Box::new(stream)),
            Err(error) => last = error,
        }
    }
    Err(last)
}
