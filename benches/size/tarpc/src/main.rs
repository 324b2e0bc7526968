//! The smallest client and server with tarpc.

use std::io;

use futures::{StreamExt as _, future};
use tarpc::server::{BaseChannel, Channel as _};
use tarpc::tokio_serde::formats::Bincode;
use tarpc::{client, context, serde_transport};

#[cfg(not(feature = "hundred"))]
#[tarpc::service]
trait Calls {
    async fn add(a: i64, b: i64) -> i64;
}

#[cfg(feature = "hundred")]
macro_rules! calls {
    ($($name:ident)+) => {
        #[tarpc::service]
        trait Calls {
            async fn add(a: i64, b: i64) -> i64;
            $(async fn $name(a: i64, b: i64) -> i64;)+
        }

        impl Calls for Adder {
            async fn add(self, _: context::Context, a: i64, b: i64) -> i64 {
                a + b
            }
            $(async fn $name(self, _: context::Context, a: i64, b: i64) -> i64 {
                a + b
            })+
        }

        async fn call_all(calls: &CallsClient) -> Result<i64, client::RpcError> {
            Ok(0 $(+ calls.$name(context::current(), 2, 3).await?)+)
        }
    };
}

#[derive(Clone)]
struct Adder;

#[cfg(feature = "hundred")]
calls! {
    m01 m02 m03 m04 m05 m06 m07 m08 m09 m10 m11 m12 m13 m14 m15
    m16 m17 m18 m19 m20 m21 m22 m23 m24 m25 m26 m27 m28 m29 m30
    m31 m32 m33 m34 m35 m36 m37 m38 m39 m40 m41 m42 m43 m44 m45
    m46 m47 m48 m49 m50 m51 m52 m53 m54 m55 m56 m57 m58 m59 m60
    m61 m62 m63 m64 m65 m66 m67 m68 m69 m70 m71 m72 m73 m74 m75
    m76 m77 m78 m79 m80 m81 m82 m83 m84 m85 m86 m87 m88 m89 m90
    m91 m92 m93 m94 m95 m96 m97 m98 m99
}

#[cfg(not(feature = "hundred"))]
impl Calls for Adder {
    async fn add(self, _: context::Context, a: i64, b: i64) -> i64 {
        a + b
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let listener = serde_transport::tcp::listen("127.0.0.1:0", Bincode::default).await?;
    let address = listener.local_addr();
    tokio::spawn(
        listener
            .filter_map(|accepted| future::ready(accepted.ok()))
            .map(BaseChannel::with_defaults)
            .for_each(|channel| async {
                tokio::spawn(channel.execute(Adder.serve()).for_each(|call| async {
                    tokio::spawn(call);
                }));
            }),
    );
    let transport = serde_transport::tcp::connect(address, Bincode::default).await?;
    let calls = CallsClient::new(client::Config::default(), transport).spawn();
    let sum = calls.add(context::current(), 2, 3).await;
    assert_eq!(sum.map_err(io::Error::other)?, 5);
    #[cfg(feature = "hundred")]
    assert_eq!(call_all(&calls).await.map_err(io::Error::other)?, 99 * 5);
    Ok(())
}
