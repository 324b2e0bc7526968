//! This framework with much to choose from: a hundred methods in the trait, and fifty services on the
//! server. A call must cost what it costs with one of each.

use std::convert::Infallible;

use rpc_core::{Channel, Server, ServerBuilder, service};

use super::{address, limits, start};
use crate::peers::{Caller, Place};

/// Serves a trait of a hundred methods, for good.
pub(crate) async fn serve_methods(place: Place, ready: impl FnOnce(Place)) -> Infallible {
    start(
        Server::builder().service(WideServer::new(Handler)),
        place,
        ready,
    )
    .await
}

/// Serves fifty traits of one method, for good.
pub(crate) async fn serve_services(place: Place, ready: impl FnOnce(Place)) -> Infallible {
    start(with_services(Server::builder()), place, ready).await
}

/// Connects, to call three of the hundred methods in turn: the first, one between and the last.
pub(crate) async fn connect_methods(place: &Place) -> impl Caller + use<> {
    Methods(WideClient::new(channel(place).await))
}

/// Connects, to call three of the fifty services in turn.
pub(crate) async fn connect_services(place: &Place) -> impl Caller + use<> {
    let channel = channel(place).await;
    Services(
        S00Client::new(channel.clone()),
        S24Client::new(channel.clone()),
        S49Client::new(channel),
    )
}

async fn channel(place: &Place) -> Channel {
    let channel = Channel::builder(address(place)).limits(limits());
    channel.connect().await.expect("the server can be reached")
}

#[derive(Clone)]
struct Methods(WideClient);

impl Caller for Methods {
    async fn add(&self, a: i64, b: i64) -> i64 {
        let sum = match a.rem_euclid(3) {
            0 => self.0.m00(a, b).await,
            1 => self.0.m50(a, b).await,
            _ => self.0.m99(a, b).await,
        };
        sum.expect("add succeeds")
    }

    async fn echo(&self, payload: Vec<u8>) -> Vec<u8> {
        payload
    }
}

#[derive(Clone)]
struct Services(S00Client, S24Client, S49Client);

impl Caller for Services {
    async fn add(&self, a: i64, b: i64) -> i64 {
        let sum = match a.rem_euclid(3) {
            0 => self.0.add(a, b).await,
            1 => self.1.add(a, b).await,
            _ => self.2.add(a, b).await,
        };
        sum.expect("add succeeds")
    }

    async fn echo(&self, payload: Vec<u8>) -> Vec<u8> {
        payload
    }
}

struct Handler;

macro_rules! methods {
    ($($method:ident)*) => {
        #[service]
        trait Wide {
            $(async fn $method(&self, a: i64, b: i64) -> i64;)*
        }

        impl Wide for Handler {
            $(async fn $method(&self, a: i64, b: i64) -> i64 {
                a.wrapping_add(b)
            })*
        }
    };
}

macro_rules! services {
    ($($service:ident $server:ident,)*) => {
        $(
            #[service]
            trait $service {
                async fn add(&self, a: i64, b: i64) -> i64;
            }

            impl $service for Handler {
                async fn add(&self, a: i64, b: i64) -> i64 {
                    a.wrapping_add(b)
                }
            }
        )*

        fn with_services(builder: ServerBuilder) -> ServerBuilder {
            $(let builder = builder.service($server::new(Handler));)*
            builder
        }
    };
}

methods! {
    m00 m01 m02 m03 m04 m05 m06 m07 m08 m09 m10 m11 m12 m13 m14 m15 m16 m17 m18 m19 m20 m21 m22
    m23 m24 m25 m26 m27 m28 m29 m30 m31 m32 m33 m34 m35 m36 m37 m38 m39 m40 m41 m42 m43 m44 m45
    m46 m47 m48 m49 m50 m51 m52 m53 m54 m55 m56 m57 m58 m59 m60 m61 m62 m63 m64 m65 m66 m67 m68
    m69 m70 m71 m72 m73 m74 m75 m76 m77 m78 m79 m80 m81 m82 m83 m84 m85 m86 m87 m88 m89 m90 m91
    m92 m93 m94 m95 m96 m97 m98 m99
}

services! {
    S00 S00Server, S01 S01Server, S02 S02Server, S03 S03Server, S04 S04Server, S05 S05Server,
    S06 S06Server, S07 S07Server, S08 S08Server, S09 S09Server, S10 S10Server, S11 S11Server,
    S12 S12Server, S13 S13Server, S14 S14Server, S15 S15Server, S16 S16Server, S17 S17Server,
    S18 S18Server, S19 S19Server, S20 S20Server, S21 S21Server, S22 S22Server, S23 S23Server,
    S24 S24Server, S25 S25Server, S26 S26Server, S27 S27Server, S28 S28Server, S29 S29Server,
    S30 S30Server, S31 S31Server, S32 S32Server, S33 S33Server, S34 S34Server, S35 S35Server,
    S36 S36Server, S37 S37Server, S38 S38Server, S39 S39Server, S40 S40Server, S41 S41Server,
    S42 S42Server, S43 S43Server, S44 S44Server, S45 S45Server, S46 S46Server, S47 S47Server,
    S48 S48Server, S49 S49Server,
}
