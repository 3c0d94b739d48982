//! Compresses a body piece by piece, with bounded memory.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::{Compress, FlushCompress, Status};
use http::HeaderMap;
use legate_config::http::Compression;

use crate::request::Coding;

/// Most bytes that are compressed at a time: other requests wait meanwhile.
const PIECE: usize = 32 * 1024;

/// Room for output that is made at a time.
const ROOM: usize = 8 * 1024;

const BROTLI_QUALITY: u32 = 4;
const BROTLI_WINDOW_BITS: u32 = 18;
#[cfg(feature = "zstd")]
const ZSTD_LEVEL: i32 = 3;

/// A body that is being compressed.
pub(crate) struct Encoder {
    codec: Codec,
    /// Input that waits.
    rest: Bytes,
    /// Whether input went in that may not have come out.
    held: bool,
    /// Whether every frame of the upstream goes on at once.
    eager: bool,
    ended: bool,
    /// What follows the body.
    pub(super) trailers: Option<HeaderMap>,
}

enum Codec {
    Gzip(Box<Compress>, Vec<u8>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    #[cfg(feature = "zstd")]
    Zstd(Box<zstd::stream::write::Encoder<'static, Vec<u8>>>),
    /// All is written, this much of it not taken yet.
    Finished(Vec<u8>),
}

impl Encoder {
    /// `eager`: the client waits for every frame, however small.
    ///
    /// # Errors
    /// There is no memory for it.
    pub(super) fn new(coding: Coding, settings: &Compression, eager: bool) -> io::Result<Self> {
        let codec = match coding {
            Coding::Gzip => {
                let level = flate2::Compression::new(u32::from(settings.gzip_level.min(9)));
                // Other widths panic there.
                let bits = settings.gzip_window_bits.clamp(9, 15);
                Codec::Gzip(Box::new(Compress::new_gzip(level, bits)), Vec::new())
            }
            #[cfg(feature = "zstd")]
            Coding::Zstd => Codec::Zstd(Box::new(zstd::stream::write::Encoder::new(
                Vec::new(),
                ZSTD_LEVEL,
            )?)),
            #[cfg(not(feature = "zstd"))]
            Coding::Zstd => return Err(io::ErrorKind::Unsupported.into()),
            Coding::Brotli => Codec::Brotli(Box::new(brotli::CompressorWriter::new(
                Vec::new(),
                ROOM,
                BROTLI_QUALITY,
                BROTLI_WINDOW_BITS,
            ))),
        };
        Ok(Self {
            codec,
            rest: Bytes::new(),
            held: false,
            eager,
            ended: false,
            trailers: None,
        })
    }

    /// Whether input waits for [`Self::step`].
    pub(super) fn has_input(&self) -> bool {
        !self.rest.is_empty()
    }

    /// Whether the end was written.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether [`Self::flush`] may bring something out.
    pub(super) fn holds_back(&self) -> bool {
        self.held
    }

    /// Takes input; there is none waiting.
    pub(super) fn push(&mut self, input: Bytes) {
        debug_assert!(self.rest.is_empty());
        self.rest = input;
    }

    /// Compresses a piece of the input.
    pub(super) fn step(&mut self) -> io::Result<()> {
        let piece = self.rest.split_to(self.rest.len().min(PIECE));
        match &mut self.codec {
            Codec::Gzip(gzip, output) => deflate(gzip, output, &piece, FlushCompress::None)?,
            Codec::Brotli(writer) => writer.write_all(&piece)?,
            #[cfg(feature = "zstd")]
            Codec::Zstd(writer) => writer.write_all(&piece)?,
            Codec::Finished(_) => {}
        }
        self.held = true;
        if self.eager && self.rest.is_empty() {
            self.flush()?;
        }
        Ok(())
    }

    /// Brings out what went in.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.held = false;
        match &mut self.codec {
            Codec::Gzip(gzip, output) => deflate(gzip, output, &[], FlushCompress::Sync),
            Codec::Brotli(writer) => writer.flush(),
            #[cfg(feature = "zstd")]
            Codec::Zstd(writer) => writer.flush(),
            Codec::Finished(_) => Ok(()),
        }
    }

    /// Writes the end.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.ended = true;
        self.held = false;
        let codec = std::mem::replace(&mut self.codec, Codec::Finished(Vec::new()));
        let output = match codec {
            Codec::Gzip(mut gzip, mut output) => {
                deflate(&mut gzip, &mut output, &[], FlushCompress::Finish)?;
                output
            }
            Codec::Brotli(writer) => writer.into_inner(),
            #[cfg(feature = "zstd")]
            Codec::Zstd(writer) => writer.finish()?,
            Codec::Finished(output) => output,
        };
        self.codec = Codec::Finished(output);
        Ok(())
    }

    /// What came out so far.
    pub(super) fn take(&mut self) -> Bytes {
        let output = match &mut self.codec {
            Codec::Gzip(_, output) | Codec::Finished(output) => output,
            Codec::Brotli(writer) => writer.get_mut(),
            #[cfg(feature = "zstd")]
            Codec::Zstd(writer) => writer.get_mut(),
        };
        Bytes::from(std::mem::take(output))
    }
}

/// Runs the compressor until it has nothing more to do.
fn deflate(
    gzip: &mut Compress,
    output: &mut Vec<u8>,
    mut input: &[u8],
    flush: FlushCompress,
) -> io::Result<()> {
    loop {
        output.reserve(ROOM);
        let before = gzip.total_in();
        let status = gzip.compress_vec(input, output, flush)?;
        let used = usize::try_from(gzip.total_in() - before).unwrap_or(usize::MAX);
        input = input.get(used..).unwrap_or_default();
        // Room that is left means that all that could come out is out.
        let all_out = output.len() < output.capacity();
        match status {
            Status::StreamEnd => return Ok(()),
            Status::Ok | Status::BufError if input.is_empty() && all_out => {
                return Ok(());
            }
            Status::Ok | Status::BufError => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn settings() -> Compression {
        Compression {
            content_types: Vec::new(),
            min_length: 0,
            gzip_level: 6,
            gzip_window_bits: 12,
            not_with_etag: false,
            hide_accept_encoding: false,
        }
    }

    fn unpack(coding: Coding, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match coding {
            Coding::Gzip => {
                let mut decoder = flate2::read::GzDecoder::new(bytes);
                let _ = decoder.read_to_end(&mut out);
            }
            Coding::Brotli => {
                let _ = brotli::Decompressor::new(bytes, 4096).read_to_end(&mut out);
            }
            #[cfg(feature = "zstd")]
            Coding::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::new(bytes).unwrap();
                let _ = decoder.read_to_end(&mut out);
            }
            #[cfg(not(feature = "zstd"))]
            Coding::Zstd => {}
        }
        out
    }

    fn codings() -> impl Iterator<Item = Coding> {
        [Coding::Gzip, Coding::Brotli]
            .into_iter()
            .chain(cfg!(feature = "zstd").then_some(Coding::Zstd))
    }

    #[test]
    fn what_goes_in_comes_out() {
        // Bytes that do not compress well, more than a piece of them.
        let mut state = 1u32;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        })
        .take(200_000)
        .collect();
        for coding in codings() {
            let mut encoder = Encoder::new(coding, &settings(), false).unwrap();
            let mut packed = Vec::new();
            for chunk in noise.chunks(70_000) {
                encoder.push(Bytes::copy_from_slice(chunk));
                while encoder.has_input() {
                    encoder.step().unwrap();
                    packed.extend(encoder.take());
                }
            }
            encoder.finish().unwrap();
            packed.extend(encoder.take());
            assert!(encoder.take().is_empty());
            assert!(unpack(coding, &packed) == noise, "{coding:?}");
        }
    }

    #[test]
    fn a_flush_brings_everything_out() {
        for coding in codings() {
            for eager in [false, true] {
                let mut encoder = Encoder::new(coding, &settings(), eager).unwrap();
                encoder.push(Bytes::from_static(b"data: 1"));
                encoder.step().unwrap();
                assert_eq!(encoder.holds_back(), !eager);
                if !eager {
                    encoder.flush().unwrap();
                }
                let packed = encoder.take();
                assert_eq!(unpack(coding, &packed), b"data: 1", "{coding:?}");
            }
        }
    }

    #[test]
    fn nothing_is_something_too() {
        for coding in codings() {
            let mut encoder = Encoder::new(coding, &settings(), false).unwrap();
            encoder.finish().unwrap();
            let packed = encoder.take();
            assert!(!packed.is_empty(), "{coding:?}");
            assert!(unpack(coding, &packed).is_empty(), "{coding:?}");
        }
    }
}
