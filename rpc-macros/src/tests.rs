//! The whole attribute on token streams: what comes out for what goes in.

use proc_macro2::TokenStream;
use quote::quote;

use crate::expand::service;

/// Checks that the expansion of `item` contains `part`, token by token.
#[track_caller]
fn check(item: TokenStream, part: TokenStream) {
    check_with(TokenStream::new(), item, part);
}

#[track_caller]
fn check_with(attr: TokenStream, item: TokenStream, part: TokenStream) {
    let expansion = service(attr, item);
    assert!(
        plain(&expansion).contains(&plain(&part)),
        "\n{part}\n\nis not in\n\n{expansion}"
    );
}

/// The tokens without the spaces that depend on whether two stood together in the source.
fn plain(tokens: &TokenStream) -> String {
    tokens.to_string().replace(' ', "")
}

fn calculator() -> TokenStream {
    quote! {
        /// Adds.
        pub trait Calculator {
            /// Adds two numbers.
            async fn add(&self, a: i64, b: i64) -> i64;
        }
    }
}

#[test]
fn a_method_of_the_trait_returns_a_future_that_is_send() {
    check(
        calculator(),
        quote! {
            pub trait Calculator: ::core::marker::Send + ::core::marker::Sync + 'static {
                #[doc = r" Adds two numbers."]
                fn add(&self, a: i64, b: i64)
                    -> impl ::core::future::Future<Output = i64> + ::core::marker::Send;
            }
        },
    );
}

#[test]
fn a_default_body_moves_into_the_future() {
    check(
        quote!(
            trait Calculator {
                async fn one(&self) -> i64 {
                    1
                }
            }
        ),
        quote! {
            #[allow(clippy::manual_async_fn)]
            fn one(&self) -> impl ::core::future::Future<Output = i64> + ::core::marker::Send {
                async move { 1 }
            }
        },
    );
}

#[test]
fn a_bound_that_is_written_is_not_repeated() {
    check(
        quote!(
            trait Calculator: Sync + std::marker::Send + 'static {}
        ),
        quote!(
            trait Calculator: Sync + std::marker::Send + 'static {}
        ),
    );
}

#[test]
fn a_method_of_the_client_encodes_at_once() {
    check(
        calculator(),
        quote! {
            #[doc = r" Adds two numbers."]
            pub fn add(&self, a: i64, b: i64) -> ::rpc_core::Call<i64> {
                ::rpc_core::private::Wire::<i64>::call(&self.channel, &__RPC_METHOD_add, &(
                    ::rpc_core::private::Wire::<i64>::pass(&a),
                    ::rpc_core::private::Wire::<i64>::pass(&b),
                ))
            }
        },
    );
}

#[test]
fn a_result_is_flat() {
    check(
        quote!(
            trait Calculator {
                async fn one(&self) -> Result<f64, MathError>;
            }
        ),
        quote! {
            fn one(&self,) -> ::rpc_core::TryCall<f64, MathError> {
                ::rpc_core::private::Outcome::<::core::result::Result<f64, MathError>>::try_call(
                    &self.channel, &__RPC_METHOD_one, &()
                )
            }
        },
    );
}

#[test]
fn the_server_lends_what_is_borrowed() {
    check(
        quote!(
            trait Calculator {
                async fn parse(&self, text: &str, radix: u8) -> f64;
            }
        ),
        quote! {
            __RPC_ID_parse => {
                let (a0, a1,) = match ::rpc_core::private::decode(request) {
                    ::core::result::Result::Ok(decoded) => decoded,
                    ::core::result::Result::Err(reply) => return answer.put(reply),
                };
                let a0 = ::rpc_core::private::Lent::<str>::lend(&a0);
                let a1 = ::rpc_core::private::Wire::<u8>::take(a1);
                let output = <__RpcImplementation as Calculator>::parse(&*service, a0, a1).await;
                ::rpc_core::private::Wire::<f64>::reply(request, answer, output)
            }
        },
    );
}

#[test]
fn the_twin_names_every_elided_lifetime() {
    check(
        quote!(
            trait Calculator {
                async fn parse(&self, a: &str, b: Option<Cow<'_, str>>);
            }
        ),
        quote! {
            fn __rpc_parse<'__rpc, '__rpc0, '__rpc1>(
                &'__rpc self, a: &'__rpc0 str, b: Option<Cow<'__rpc1, str>>
            ) -> ::core::pin::Pin<::std::boxed::Box<
                dyn ::core::future::Future<Output = ()> + ::core::marker::Send + '__rpc
            >>
            where
                '__rpc0: '__rpc, '__rpc1: '__rpc;
        },
    );
}

#[test]
fn names_of_the_wire_stand_in_the_descriptor() {
    check_with(
        quote!(
            name = "math.Calculator",
            version = "1.2.0",
            crate = "facade::rpc"
        ),
        quote!(
            trait Calculator {
                #[rpc(name = "plus", idempotent)]
                async fn add(&self, r#type: u8);
            }
        ),
        quote! {
            const __RPC_ID_add: facade::rpc::MethodId =
                facade::rpc::MethodId::new("math.Calculator", "plus");
        },
    );
}

#[test]
fn with_async_trait_the_functions_stay_as_they_are() {
    check(
        quote!(
            #[async_trait]
            trait Calculator {
                #[rpc(idempotent)]
                async fn one(&self) -> i64;
            }
        ),
        quote! {
            #[async_trait]
            trait Calculator: ::core::marker::Send + ::core::marker::Sync + 'static {
                async fn one(&self) -> i64;
            }
        },
    );
}

#[test]
fn a_faulty_method_is_left_out_and_the_others_stay() {
    let item = quote! {
        trait Calculator {
            async fn wrong(&self, number: &mut i64);
            async fn right(&self) -> i64;
        }
    };
    let expansion = service(TokenStream::new(), item.clone()).to_string();
    assert_eq!(expansion.matches("compile_error").count(), 1);
    assert!(!expansion.contains("__RPC_METHOD_wrong"));
    for name in ["CalculatorClient", "CalculatorServer", "DynCalculator"] {
        assert!(
            expansion.contains(&format!("struct {name}")),
            "{name} is missing"
        );
    }
    check(
        item.clone(),
        quote!(fn right(&self,) -> ::rpc_core::Call<i64>),
    );
    check(
        item,
        quote!(
            async fn wrong(&self, number: &mut i64);
        ),
    );
}

#[test]
fn a_mistake_in_the_attribute_leaves_everything_else_whole() {
    check_with(
        quote!(version = "1"),
        calculator(),
        quote!(impl Calculator for DynCalculator),
    );
}

#[test]
fn what_is_no_trait_stays_beside_its_error() {
    let expansion = service(
        TokenStream::new(),
        quote!(
            struct Calculator;
        ),
    )
    .to_string();
    assert_eq!(expansion.matches("compile_error").count(), 1);
    assert!(expansion.ends_with("struct Calculator ;"));
}
