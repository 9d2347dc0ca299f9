//! Answers that break off.

use std::{error::Error, io};

use bytes::Bytes;
use futures_util::stream;
use http_body::{Body, Frame};
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use tokio::sync::watch;

/// A body that may break off.
pub(crate) type AnyBody = UnsyncBoxBody<Bytes, io::Error>;

/// The body until the next cut, or until so many bytes are left through.
pub(crate) fn frames<B>(body: B, cuts: watch::Receiver<u64>, left: Option<usize>) -> AnyBody
where
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + Unpin + 'static,
{
    let frames = stream::unfold(
        (body, cuts, left, false),
        |(mut body, mut cuts, left, broken)| async move {
            if broken {
                return None;
            }
            let frame = tokio::select! {
                biased;
                _ = cuts.changed() => return Some((Err(io::ErrorKind::ConnectionReset.into()), (body, cuts, left, true))),
                frame = body.frame() => frame?,
            };
            let frame = match frame {
                Ok(frame) => frame,
                Err(error) => return Some((Err(io::Error::other(error)), (body, cuts, left, true))),
            };
            let data = frame.into_data().unwrap_or_default();
            match left {
                Some(0) => Some((Err(io::ErrorKind::UnexpectedEof.into()), (body, cuts, left, true))),
                Some(left) => {
                    let some = data.slice(..data.len().min(left));
                    let left = if some.len() < data.len() { 0 } else { left - some.len() };
                    Some((Ok(Frame::data(some)), (body, cuts, Some(left), false)))
                }
                None => Some((Ok(Frame::data(data)), (body, cuts, left, false))),
            }
        },
    );
    StreamBody::new(frames).boxed_unsync()
}
