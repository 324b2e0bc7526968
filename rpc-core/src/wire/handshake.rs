//! The bodies of hello and answer.

use std::fmt;
use std::ops::Deref;

use bytes::{BufMut, Bytes};

use super::text::put_text_within;
use super::{Malformed, Reader};

/// What the client can do and wants: the first leg.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Hello {
    /// Lowest and highest protocol version it speaks.
    pub(crate) versions: (u16, u16),
    pub(crate) parameters: Parameters,
    /// Codecs it can use, the one it wants first.
    pub(crate) codecs: Codecs,
    /// The instance that must be found at the address, where discovery named one.
    pub(crate) expected: Option<[u8; 16]>,
    /// Opaque to the protocol.
    pub(crate) credentials: Bytes,
}

/// What the server chose, or why it refuses: the second leg.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    /// The connection stands.
    Accepted {
        version: u16,
        codec: u8,
        parameters: Parameters,
        /// Which process this is.
        instance: [u8; 16],
    },
    /// The connection ends after this frame; no early call ran.
    Refused {
        /// A [`Code`](crate::Code).
        code: u8,
        /// The versions the server speaks, so that the client can say what to upgrade.
        versions: (u16, u16),
        text: String,
    },
}

/// What the sender of a hello or an answer accepts from its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parameters {
    /// The largest message, in bytes.
    pub(crate) message: u32,
    /// Calls in flight.
    pub(crate) calls: u32,
    /// The initial credit for chunks and items, in bytes.
    pub(crate) connection_window: u32,
    /// The initial credit for the items of each stream, in bytes.
    pub(crate) stream_window: u32,
}

/// Optional fields stand at the end as (tag, length, bytes), and a tag that is not known is passed
/// over: this is how the handshake grows without a new version.
mod option {
    pub(super) const EXPECTED: u8 = 1;
    pub(super) const CREDENTIALS: u8 = 2;
}

/// The numbers of some codecs, in an order that means something. In place, because every connection
/// has such a list, and mostly of one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Codecs {
    count: usize,
    all: [u8; Self::MAX],
}

impl Codecs {
    /// The most codecs in a hello: more than will ever exist, fewer than fill the preamble.
    const MAX: usize = 16;
}

impl Deref for Codecs {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.all.get(..self.count).unwrap_or(&self.all)
    }
}

/// As many as there is room for.
impl FromIterator<u8> for Codecs {
    fn from_iter<T: IntoIterator<Item = u8>>(codecs: T) -> Self {
        let mut all = [0; Self::MAX];
        let places = all.iter_mut().zip(codecs);
        let count = places.map(|(place, codec)| *place = codec).count();
        Self { count, all }
    }
}

impl<const N: usize> From<[u8; N]> for Codecs {
    fn from(codecs: [u8; N]) -> Self {
        codecs.into_iter().collect()
    }
}

impl fmt::Debug for Codecs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl Hello {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.put_u16_le(self.versions.0);
        out.put_u16_le(self.versions.1);
        self.parameters.put(out);
        out.put_u8(u8::try_from(self.codecs.len()).unwrap_or(u8::MAX));
        out.put_slice(&self.codecs);
        if let Some(expected) = &self.expected {
            put_option(out, option::EXPECTED, expected);
        }
        if !self.credentials.is_empty() {
            put_option(out, option::CREDENTIALS, &self.credentials);
        }
    }

    pub(super) fn parse(mut body: Reader<'_>) -> Result<Self, Malformed> {
        let versions = (
            body.u16("no lowest version")?,
            body.u16("no highest version")?,
        );
        if versions.0 > versions.1 {
            return Err(body.malformed("the lowest version is above the highest"));
        }
        let parameters = Parameters::parse(&mut body)?;
        let count = usize::from(body.u8("no number of codecs")?);
        if count == 0 || count > Codecs::MAX {
            return Err(body.malformed("a number of codecs that is not allowed"));
        }
        let codecs = body.bytes(count, "no codecs")?.iter().copied().collect();
        let mut expected = None;
        let mut credentials = Bytes::new();
        while !body.is_empty() {
            let tag = body.u8("no option tag")?;
            let length = usize::from(body.u16("no option length")?);
            let value = body.bytes(length, "an option is cut off")?;
            match tag {
                option::EXPECTED => match <[u8; 16]>::try_from(value) {
                    Ok(instance) => expected = Some(instance),
                    Err(_) => return Err(body.malformed("an instance is not 16 bytes")),
                },
                option::CREDENTIALS => credentials = Bytes::copy_from_slice(value),
                _ => {}
            }
        }
        Ok(Self {
            versions,
            parameters,
            codecs,
            expected,
            credentials,
        })
    }
}

impl Answer {
    const ACCEPTED: u8 = 0;

    /// The longest reason of a refusal: with it, an answer is well below the limit of its frame.
    const TEXT_MAX: usize = 1024;

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Accepted {
                version,
                codec,
                parameters,
                instance,
            } => {
                out.put_u8(Self::ACCEPTED);
                out.put_u16_le(*version);
                out.put_u8(*codec);
                parameters.put(out);
                out.put_slice(instance);
            }
            Self::Refused {
                code,
                versions,
                text,
            } => {
                out.put_u8(*code);
                out.put_u16_le(versions.0);
                out.put_u16_le(versions.1);
                put_text_within(out, text, Self::TEXT_MAX);
            }
        }
    }

    pub(super) fn parse(mut body: Reader<'_>) -> Result<Self, Malformed> {
        let code = body.u8("no status")?;
        if code != Self::ACCEPTED {
            let versions = (
                body.u16("no lowest version")?,
                body.u16("no highest version")?,
            );
            return Ok(Self::Refused {
                code,
                versions,
                text: body.text("no text")?,
            });
        }
        let version = body.u16("no version")?;
        let codec = body.u8("no codec")?;
        let parameters = Parameters::parse(&mut body)?;
        let instance = body.bytes(16, "no instance")?;
        let instance = <[u8; 16]>::try_from(instance)
            .map_err(|_| body.malformed("an instance is not 16 bytes"))?;
        Ok(Self::Accepted {
            version,
            codec,
            parameters,
            instance,
        })
    }
}

impl Parameters {
    fn put(&self, out: &mut Vec<u8>) {
        out.put_u32_le(self.message);
        out.put_u32_le(self.calls);
        out.put_u32_le(self.connection_window);
        out.put_u32_le(self.stream_window);
    }

    fn parse(body: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            message: body.u32("no message limit")?,
            calls: body.u32("no call limit")?,
            connection_window: body.u32("no connection window")?,
            stream_window: body.u32("no stream window")?,
        })
    }
}

fn put_option(out: &mut Vec<u8>, tag: u8, value: &[u8]) {
    out.put_u8(tag);
    out.put_u16_le(u16::try_from(value.len()).unwrap_or(u16::MAX));
    out.put_slice(value);
}
