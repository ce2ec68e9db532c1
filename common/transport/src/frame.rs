//! Frames: what the streams of a connection carry.
//!
//! | stream | opened by | carries |
//! |---|---|---|
//! | control, bidirectional, the first | agent | byte 1; then frames of `ToCoordinator` one way; a welcome byte and frames of `ToAgent` the other |
//! | upload, bidirectional | agent | byte 2, frame of `Signed<MaskedHeader>`, then the bytes from the offset in the answer; the other way frames of [`UploadAnswer`] |
//! | model, unidirectional | coordinator | byte 3, eight bytes of length, the model |
//!
//! A frame is four bytes of length (big-endian) and as many bytes. The length is checked against
//! the reader's limit before anything is allocated, and memory grows only with what has arrived.

use bytes::Bytes;
use chorale_wire::message::Reason;
use quinn::{RecvStream, SendStream};
use serde::{Deserialize, Serialize};

use crate::{
    bounds::{CHUNK_BYTES, STALL_TIMEOUT},
    fault::ConnectionFault,
};

/// First byte of the control stream.
pub(crate) const STREAM_CONTROL: u8 = 1;
/// First byte of an upload stream.
pub(crate) const STREAM_UPLOAD: u8 = 2;
/// First byte of a model stream.
pub(crate) const STREAM_MODEL: u8 = 3;
/// The coordinator's first byte on the control stream: the agent is admitted.
pub(crate) const WELCOME: u8 = b'+';

/// Longest [`UploadAnswer`] in bytes.
pub(crate) const ANSWER_BYTES_MAX: usize = 1024;

/// Longest signed header of an upload in bytes: payload, signature and lengths.
pub(crate) const HEADER_BYTES_MAX: usize = 512;

/// What the coordinator says on an upload stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum UploadAnswer {
    /// Send from this byte on.
    Continue {
        /// Bytes that the coordinator has already.
        offset: u64,
    },
    /// All bytes have arrived and were handed on.
    Accepted,
    /// Not taken.
    Refused {
        /// For people to read.
        reason: Reason,
        /// Whether a later attempt may succeed.
        retry: bool,
    },
}

/// Reads one frame of 1 to `limit` bytes; `None` where the stream ends between frames.
pub(crate) async fn read_frame(
    stream: &mut RecvStream,
    limit: usize,
) -> Result<Option<Vec<u8>>, ConnectionFault> {
    let mut prefix = [0; 4];
    let Some(first) = stream.read(&mut prefix).await? else { return Ok(None) };
    within_stall(async {
        stream.read_exact(&mut prefix[first..]).await?;
        let length = checked_length(u64::from(u32::from_be_bytes(prefix)), limit)?;
        read_bytes(stream, length).await.map(Some)
    })
    .await
}

/// Writes one frame.
pub(crate) async fn write_frame(
    stream: &mut SendStream,
    bytes: &[u8],
) -> Result<(), ConnectionFault> {
    let length = u32::try_from(bytes.len())
        .map_err(|_| ConnectionFault::protocol("a frame above 4 GiB was to be sent"))?;
    within_stall(async {
        stream.write_all(&length.to_be_bytes()).await?;
        Ok(())
    })
    .await?;
    write_chunks(stream, bytes).await
}

/// Writes frames to a stream. What is on its way is kept here, so that a writer which is
/// interrupted never leaves half a frame before the next one. The bytes of a frame are shared with
/// the stream until the peer has acknowledged them, never copied: a message for thousands of peers
/// exists once, however slowly they take it.
pub(crate) struct FrameWriter {
    stream: SendStream,
    /// Parts of frames that the stream has not taken yet.
    rest: Vec<Bytes>,
}

impl FrameWriter {
    pub(crate) fn new(stream: SendStream) -> Self {
        Self { stream, rest: Vec::new() }
    }

    /// Writes one frame. The frame is taken over before the first wait.
    pub(crate) async fn send(&mut self, bytes: Bytes) -> Result<(), ConnectionFault> {
        let length = u32::try_from(bytes.len())
            .map_err(|_| ConnectionFault::protocol("a frame above 4 GiB was to be sent"))?;
        self.rest.extend([Bytes::copy_from_slice(&length.to_be_bytes()), bytes]);
        self.flush().await
    }

    /// Writes what an interrupted [`FrameWriter::send`] left.
    async fn flush(&mut self) -> Result<(), ConnectionFault> {
        write_shared(&mut self.stream, &mut self.rest).await
    }

    /// Ends the stream and waits until the peer has everything, or is gone.
    pub(crate) async fn finish(&mut self) {
        if self.flush().await.is_ok() && self.stream.finish().is_ok() {
            // Resolves when the peer has received everything; an error means that it is gone.
            let _ = self.stream.stopped().await;
        }
    }
}

/// Writes bytes that the stream shares; what it has taken is gone from `rest`, also when this is
/// interrupted. Each step has [`STALL_TIMEOUT`].
pub(crate) async fn write_shared(
    stream: &mut SendStream,
    rest: &mut Vec<Bytes>,
) -> Result<(), ConnectionFault> {
    while !rest.is_empty() {
        // Either this waits and nothing was written, or what was written is taken off `rest`.
        let written = within_stall(async { Ok(stream.write_chunks(rest).await?) }).await?;
        rest.drain(..written.chunks);
    }
    Ok(())
}

/// Writes bytes chunk by chunk; each chunk has [`STALL_TIMEOUT`].
pub(crate) async fn write_chunks(
    stream: &mut SendStream,
    bytes: &[u8],
) -> Result<(), ConnectionFault> {
    for chunk in bytes.chunks(CHUNK_BYTES) {
        within_stall(async { Ok(stream.write_all(chunk).await?) }).await?;
    }
    Ok(())
}

/// A length from outside, between 1 and `limit`.
pub(crate) fn checked_length(length: u64, limit: usize) -> Result<usize, ConnectionFault> {
    match usize::try_from(length) {
        Ok(0) => Err(ConnectionFault::protocol("an empty frame")),
        Ok(length) if length <= limit => Ok(length),
        _ => Err(ConnectionFault::protocol(format!(
            "a frame of {length} bytes; at most {limit} are allowed here"
        ))),
    }
}

/// Reads exactly `length` bytes (checked before); memory grows with what arrives.
pub(crate) async fn read_bytes(
    stream: &mut RecvStream,
    length: usize,
) -> Result<Vec<u8>, ConnectionFault> {
    let mut bytes = Vec::with_capacity(length.min(CHUNK_BYTES));
    while bytes.len() < length {
        let wanted = (length - bytes.len()).min(CHUNK_BYTES);
        let chunk = within_stall(async { Ok(stream.read_chunk(wanted, true).await?) }).await?;
        match chunk {
            Some(chunk) => bytes.extend_from_slice(&chunk.bytes),
            None => {
                let detail = format!("a stream ended after {} of {length} bytes", bytes.len());
                return Err(ConnectionFault::Lost { detail });
            }
        }
    }
    Ok(bytes)
}

/// Reads the byte that says what a stream is.
pub(crate) async fn read_kind(stream: &mut RecvStream) -> Result<u8, ConnectionFault> {
    let mut kind = [0];
    within_stall(async { Ok(stream.read_exact(&mut kind).await?) }).await?;
    Ok(kind[0])
}

/// Gives up on a step that does not move for [`STALL_TIMEOUT`].
pub(crate) async fn within_stall<T>(
    step: impl Future<Output = Result<T, ConnectionFault>>,
) -> Result<T, ConnectionFault> {
    tokio::time::timeout(STALL_TIMEOUT, step).await.unwrap_or_else(|_| {
        Err(ConnectionFault::Slow {
            what: format!("nothing moved for {} seconds", STALL_TIMEOUT.as_secs()),
        })
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lengths_from_outside_are_checked() {
        assert!(checked_length(0, 10).is_err());
        assert_eq!(checked_length(10, 10).unwrap(), 10);
        assert!(checked_length(11, 10).is_err());
        assert!(checked_length(u64::MAX, 10).is_err());
    }
}
