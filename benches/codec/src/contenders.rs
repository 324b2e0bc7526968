//! The codecs that are compared, each as its users call it.

use bytes::BufMut;
use rpc_core::CodecId;
use rpc_core::codec::{Blob, BlobRef, Budget};

use crate::values::Value;

/// One way of encoding and decoding.
pub(crate) trait Contender {
    /// What the table calls it.
    const NAME: &'static str;

    /// Appends the encoding of `value`.
    fn encode<T: Value>(value: &T, buffer: &mut Vec<u8>);

    /// Decodes what [`encode`](Self::encode) wrote.
    fn decode<T: Value>(bytes: &[u8]) -> T;
}

/// The message limit: not reached, and checked with every write.
const LIMIT: usize = 64 << 20;

/// This framework's codec into the buffer of a connection, as client and server call it.
pub(crate) struct Ours;

impl Contender for Ours {
    const NAME: &'static str = "ours";

    #[inline(never)]
    fn encode<T: Value>(value: &T, buffer: &mut Vec<u8>) {
        CodecId::BINCODE
            .encode_into(&BlobRef(value), buffer, LIMIT)
            .expect("it can be encoded");
    }

    #[inline(never)]
    fn decode<T: Value>(bytes: &[u8]) -> T {
        let budget = Budget::for_message(bytes.len());
        let blob: Blob<T> = CodecId::BINCODE
            .decode(bytes, &budget)
            .expect("it can be decoded");
        blob.0
    }
}

/// The same into a buffer of its own for every message.
pub(crate) struct OursNew;

impl Contender for OursNew {
    const NAME: &'static str = "ours-new";

    #[inline(never)]
    fn encode<T: Value>(value: &T, buffer: &mut Vec<u8>) {
        let bytes = CodecId::BINCODE.encode(&BlobRef(value), LIMIT);
        *buffer = bytes.expect("it can be encoded").into();
    }

    #[inline(never)]
    fn decode<T: Value>(bytes: &[u8]) -> T {
        Ours::decode(bytes)
    }
}

macro_rules! plain_bincode {
    ($contender:ident $name:literal $configuration:ident) => {
        /// bincode's own serde encoder and decoder, which are not safe on bytes of a stranger.
        pub(crate) struct $contender;

        impl Contender for $contender {
            const NAME: &'static str = $name;

            #[inline(never)]
            fn encode<T: Value>(value: &T, buffer: &mut Vec<u8>) {
                let configuration = bincode::config::$configuration();
                bincode::serde::encode_into_writer(value, Sink(buffer), configuration)
                    .expect("it can be encoded");
            }

            #[inline(never)]
            fn decode<T: Value>(bytes: &[u8]) -> T {
                let configuration = bincode::config::$configuration();
                bincode::serde::decode_from_slice(bytes, configuration)
                    .expect("it can be decoded")
                    .0
            }
        }
    };
}

plain_bincode! { BincodeVarint "bincode-varint" standard }
plain_bincode! { BincodeFixed "bincode-fixed" legacy }

struct Sink<'a>(&'a mut Vec<u8>);

impl bincode::enc::write::Writer for Sink<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), bincode::error::EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// postcard's own encoder and decoder.
pub(crate) struct Postcard;

impl Contender for Postcard {
    const NAME: &'static str = "postcard";

    #[inline(never)]
    fn encode<T: Value>(value: &T, buffer: &mut Vec<u8>) {
        postcard::serialize_with_flavor(value, Flavor(buffer)).expect("it can be encoded");
    }

    #[inline(never)]
    fn decode<T: Value>(bytes: &[u8]) -> T {
        postcard::from_bytes(bytes).expect("it can be decoded")
    }
}

struct Flavor<'a>(&'a mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Flavor<'_> {
    type Output = ();

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.put_u8(byte);
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}
