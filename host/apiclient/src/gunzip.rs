//! Bodies that were compressed, made plain as they come.
//!
//! Promised: a piece of at most [`STEP`] compressed bytes is made plain at a time, so that no piece that is handed on
//! is longer than some 1,032 times that, however hostile the server; the next is made when it is asked for. How long a
//! body may be as a whole is its reader's to bound, as with any other body.

use std::{
    error::Error,
    io::{self, Write as _},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use flate2::write::GzDecoder;
use http_body::{Body, Frame};

/// Compressed bytes that are made plain at a time.
const STEP: usize = 1 << 10;

type BoxError = Box<dyn Error + Send + Sync>;

/// A body that was compressed with gzip.
pub(crate) struct Gunzip<B> {
    body: B,
    /// Came, and is still compressed.
    packed: Bytes,
    /// None once all is said.
    decoder: Option<GzDecoder<Vec<u8>>>,
}

impl<B> Gunzip<B> {
    pub(crate) fn new(body: B) -> Self {
        Self {
            body,
            packed: Bytes::new(),
            decoder: Some(GzDecoder::new(Vec::new())),
        }
    }
}

fn wrong(error: &io::Error) -> BoxError {
    format!("the answer is no sound gzip: {error}").into()
}

impl<B> Body for Gunzip<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        loop {
            let Some(decoder) = &mut this.decoder else {
                return Poll::Ready(None);
            };
            let step = this.packed.len().min(STEP);
            let made = if step > 0 {
                let made = decoder.write_all(&this.packed[..step]);
                this.packed.advance(step);
                made
            } else {
                match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                    Some(Ok(frame)) => {
                        // Trailers mean nothing here.
                        this.packed = frame.into_data().unwrap_or_default();
                        continue;
                    }
                    Some(Err(error)) => {
                        this.decoder = None;
                        return Poll::Ready(Some(Err(error.into())));
                    }
                    // Without its end it was cut off.
                    None => decoder.try_finish(),
                }
            };
            let plain = Bytes::from(std::mem::take(decoder.get_mut()));
            let ended = step == 0;
            if ended || made.is_err() {
                this.decoder = None;
            }
            if let Err(error) = made {
                return Poll::Ready(Some(Err(wrong(&error))));
            }
            if !plain.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(plain))));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use flate2::{Compression, write::GzEncoder};
    use futures_util::{FutureExt as _, stream};
    use http_body_util::{BodyExt as _, StreamBody};

    use super::*;

    fn packed(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    /// What comes of it where it arrives in pieces of this length: the whole, and the longest piece.
    fn made_plain(packed: &[u8], length: usize) -> Result<(Vec<u8>, usize), String> {
        let pieces: Vec<_> = packed.chunks(length).map(Bytes::copy_from_slice).collect();
        let frames = pieces.into_iter().map(|piece| Ok::<_, io::Error>(Frame::data(piece)));
        let mut body = Gunzip::new(StreamBody::new(stream::iter(frames)));
        let (mut whole, mut longest) = (Vec::new(), 0);
        while let Some(frame) = body.frame().now_or_never().expect("nothing to wait for") {
            let data = frame.map_err(|error| error.to_string())?.into_data().unwrap();
            longest = longest.max(data.len());
            whole.extend_from_slice(&data);
        }
        Ok((whole, longest))
    }

    #[test]
    fn it_is_made_plain_however_it_is_cut() {
        let plain: Vec<u8> = (0..50_000_u32).flat_map(|n| (n * n).to_string().into_bytes()).collect();
        let packed = packed(&plain);
        for length in [1, 7, 1_000, 100_000, packed.len()] {
            assert!(made_plain(&packed, length).unwrap().0 == plain, "{length}");
        }
        assert_eq!(made_plain(&self::packed(b""), 3).unwrap().0, b"");
    }

    #[test]
    fn a_bomb_comes_in_pieces() {
        let packed = packed(&vec![0; 100 << 20]);
        let (whole, longest) = made_plain(&packed, packed.len()).unwrap();
        assert_eq!(whole.len(), 100 << 20);
        assert!(longest <= 2 << 20, "{longest}");
    }

    #[test]
    fn what_is_cut_off_or_garbled_is_an_error() {
        let mut packed = packed(&[7; 10_000]);
        for length in [0, 5, 20, packed.len() - 1] {
            let error = made_plain(&packed[..length], 3).unwrap_err();
            assert!(error.contains("no sound gzip"), "{length}: {error}");
        }
        let end = packed.len() - 6;
        packed[end] ^= 1;
        assert!(made_plain(&packed, 100).is_err(), "its checksum");
        assert!(made_plain(b"{\"kind\":\"List\"}", 100).is_err());
    }
}
