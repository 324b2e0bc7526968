//! A trait that another macro writes, with names, types and bodies from both sides.
#![deny(
    warnings,
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    elided_lifetimes_in_paths,
    missing_debug_implementations,
    unnameable_types,
    single_use_lifetimes,
    trivial_casts,
    unused_lifetimes,
    let_underscore_drop
)]

use rpc_core::service;

macro_rules! counter {
    ($name:ident, $method:ident, $number:ty, $argument:ident, $($rest:tt)*) => {
        #[service]
        trait $name {
            async fn $method(&self, $argument: $number, request: &$number) -> $number;
            async fn flat(&self, value: Option<$number>) -> Result<$number, String>;
            async fn default(&self, service: $number) -> $number {
                let output = service;
                self.$method(output, &output).await
            }
            $($rest)*
        }

        impl $name for Counter {
            async fn $method(&self, $argument: $number, request: &$number) -> $number {
                $argument + request
            }
            async fn flat(&self, value: Option<$number>) -> Result<$number, String> {
                value.ok_or_else(|| "none".to_owned())
            }
            async fn given(&self) -> u8 {
                1
            }
        }
    };
}

struct Counter;

counter!(Count, count, u64, channel, async fn given(&self) -> u8;);

fn main() {
    let _server = CountServer::new(DynCount::new(Counter));
    let _call = CountClient::connect_lazy("memory:x").unwrap().count(1, &2);
}
