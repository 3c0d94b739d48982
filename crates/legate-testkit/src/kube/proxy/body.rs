//! A body that breaks off.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::time::Sleep;

use crate::client::Error;

/// How long the last bytes get to leave before the connection ends: the server drops what it has
/// not written yet when a body fails.
const GRACE: Duration = Duration::from_millis(50);

/// The first bytes of another body, then an error.
pub(super) struct Cut<B> {
    inner: B,
    left: usize,
    end: Option<Pin<Box<Sleep>>>,
}

impl<B> Cut<B> {
    pub(super) fn new(inner: B, bytes: usize) -> Self {
        Self {
            inner,
            left: bytes,
            end: None,
        }
    }
}

impl<B> Body for Cut<B>
where
    B: Body<Data = Bytes, Error = Error> + Unpin,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.left == 0 {
            let end = self
                .end
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(GRACE)));
            ready!(end.as_mut().poll(context));
            return Poll::Ready(Some(Err("cut on purpose".into())));
        }
        let Some(frame) = ready!(Pin::new(&mut self.inner).poll_frame(context)) else {
            return Poll::Ready(None);
        };
        let frame = frame?;
        let Ok(mut data) = frame.into_data() else {
            return Poll::Ready(None);
        };
        data.truncate(self.left);
        self.left -= data.len();
        Poll::Ready(Some(Ok(Frame::data(data))))
    }
}
