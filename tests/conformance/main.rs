//! What calls must do over every transport, as one suite.
//!
//! A transport joins with one line in `transports!`, a pattern of servers with one in `patterns!`
//! for each transport, a case with one line in `every_case!`. Each case gets a [`Site`] of its own
//! and knows nothing of what the bytes travel over, except where the transport vouches for who the
//! peer is. What the nature of a transport or a pattern forbids stands in [`SKIPPED`] with the
//! reason, and is printed.
//!
//! The servers of the forking pattern have this very program as their subservers: each runs the
//! same case alone, up to where it starts the server, and notes what its handlers do in the
//! [`book`] of the test.
#![allow(missing_docs, unused_qualifications)]

#[cfg(target_os = "linux")]
mod book;
mod callbacks;
mod calls;
#[cfg(target_os = "linux")]
mod central;
mod codec;
mod context;
#[cfg(target_os = "linux")]
mod elsewhere;
mod ending;
mod failures;
mod forms;
mod lifecycle;
mod service;
mod site;

use site::{Pattern, Site, Transport};

macro_rules! transports {
    ($($name:ident => $transport:ident,)+) => {
        $(mod $name {
            use super::site::{Site, Transport};
            every_case! { |case| Site::new(Transport::$transport, case) }
        })+
    };
}

macro_rules! patterns {
    ($($name:ident => $pattern:ident over $transport:ident,)+) => {
        $(mod $name {
            use super::site::{Pattern, Site, Transport};
            every_case! { |case| Site::new(Transport::$transport, case).with(Pattern::$pattern) }
        })+
    };
}

macro_rules! cases {
    ($site:expr; $($file:ident: $($case:ident)+;)+) => {
        $($(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let (_, case) = concat!(module_path!(), "::", stringify!($case))
                    .split_once("::")
                    .unwrap_or_default();
                let site: fn(&str) -> Site = $site;
                let site = site(case);
                if !super::is_skipped(&site, stringify!($case)) {
                    super::$file::$case(site).await;
                }
            }
        )+)+
    };
}

macro_rules! every_case {
    ($site:expr) => {
        cases! {
            $site;
            calls:
                a_plain_call
                the_first_calls_go_right_behind_the_connection
                twenty_calls_at_once_on_a_connection_that_does_not_stand_yet
                a_result_is_flat
                the_services_own_error_is_no_failure_of_the_call
                a_thousand_calls_in_flight
                calls_complete_out_of_order
                several_services_on_one_connection
                clones_share_one_connection
                small_calls_beside_large_ones
                a_hundred_clients;
            forms:
                text slice numbers reference option cow tuple owned
                no_arguments sixteen_arguments empty_values
                one_mebibyte three_mebibytes;
            ending:
                the_client_gives_up_at_its_deadline
                the_server_stops_a_handler_at_its_limit
                a_call_without_time_does_not_run
                a_deadline_beyond_the_clock
                a_dropped_call_stops_its_handler
                a_dropped_call_stops_what_it_had_called
                a_dropped_call_stops_what_it_had_spawned
                calls_that_were_dropped_leave_nothing;
            context:
                a_nested_call_inherits_the_time_left
                metadata_that_is_marked_travels_on
                a_handler_sees_its_peer
                a_spawned_task_keeps_the_context
                outside_of_a_call_there_is_no_caller;
            callbacks:
                a_server_calls_its_caller
                many_callbacks_cross_many_calls
                a_caller_without_services_says_so;
            failures:
                a_panic_ends_one_call
                an_unknown_method
                an_unknown_service
                another_type_of_an_argument
                a_request_over_the_servers_limit
                a_reply_over_the_clients_limit
                a_request_over_a_limit_below_one_frame
                more_calls_than_the_server_runs;
            lifecycle:
                nobody_listens
                a_drain_lets_calls_finish
                a_drain_turns_new_calls_away
                a_drain_ends_when_its_grace_is_over
                a_connection_without_calls_drains_at_once
                a_dropped_server_ends_its_calls
                a_client_connects_again_after_a_restart
                a_lazy_client_may_come_before_its_server
                the_last_handle_closes_the_connection
                calls_outlive_their_client
                limits_without_an_end
                a_rolling_restart_loses_no_call;
            codec:
                postcard_by_one_line
                a_callback_in_postcard
                every_form_in_postcard;
        }
    };
}

transports! {
    tcp => Tcp,
    unix_path => UnixPath,
    unix_abstract => UnixAbstract,
    tls => Tls,
    fifo => Fifo,
    memory => Memory,
    pipe => Pipe,
    exec => Exec,
    udp => Udp,
    custom => Custom,
}

patterns! {
    iterative_over_tcp => Iterative over Tcp,
    iterative_over_unix => Iterative over UnixPath,
    iterative_over_fifo => Iterative over Fifo,
    iterative_over_memory => Iterative over Memory,
}

#[cfg(target_os = "linux")]
patterns! {
    forking_over_tcp => Forking over Tcp,
    forking_over_unix => Forking over UnixPath,
    forking_over_fifo => Forking over Fifo,
    forking_over_abstract => Forking over UnixAbstract,
    central_dispatch_over_tcp => CentralDispatch over Tcp,
    central_dispatch_over_unix => CentralDispatch over UnixPath,
    central_dispatch_over_fifo => CentralDispatch over Fifo,
}

/// What cannot be asked of a pattern, and why.
const SKIPPED: &[(Pattern, &str, &str)] = &[
    (
        Pattern::Iterative,
        "a_hundred_clients",
        "one client at a time: a hundred that are connected for good cannot all be served",
    ),
    (
        Pattern::Iterative,
        "postcard_by_one_line",
        "one client at a time: a client of either codec at the same time",
    ),
    (
        Pattern::Iterative,
        "a_rolling_restart_loses_no_call",
        "one client at a time: eight that are connected for good cannot all be served",
    ),
];

/// What cannot be asked of a transport, and why.
const SKIPPED_TRANSPORTS: &[(Transport, &str, &str)] = &[
    (
        Transport::Exec,
        "nobody_listens",
        "there is a program to connect to, whether somebody listens behind it or not",
    ),
    (
        Transport::Exec,
        "a_lazy_client_may_come_before_its_server",
        "there is a program to connect to, whether somebody listens behind it or not",
    ),
    (
        Transport::Exec,
        "a_drain_lets_calls_finish",
        "the test sees a drain begin by connections that are refused; a child never refuses one",
    ),
    (Transport::Udp, "one_mebibyte", LARGE),
    (Transport::Udp, "three_mebibytes", LARGE),
    (Transport::Udp, "small_calls_beside_large_ones", LARGE),
    (Transport::Udp, "limits_without_an_end", LARGE),
    (Transport::Udp, "a_request_over_the_servers_limit", LARGE),
    (Transport::Udp, "a_reply_over_the_clients_limit", LARGE),
    (
        Transport::Udp,
        "a_request_over_a_limit_below_one_frame",
        LARGE,
    ),
    (Transport::Udp, "every_form_in_postcard", LARGE),
    (Transport::Udp, "a_server_calls_its_caller", CALLS_BACK),
    (
        Transport::Udp,
        "many_callbacks_cross_many_calls",
        CALLS_BACK,
    ),
    (Transport::Udp, "a_callback_in_postcard", CALLS_BACK),
];

const LARGE: &str = "a datagram takes 1,200 bytes, and the case is about larger messages";

const CALLS_BACK: &str =
    "a call of the server's would need a window and a cookie in the other direction";

fn is_skipped(site: &Site, case: &str) -> bool {
    let patterns = SKIPPED
        .iter()
        .filter(|(pattern, name, _)| *pattern == site.pattern() && *name == case)
        .map(|(pattern, _, reason)| (format!("{pattern:?}"), reason));
    let transports = SKIPPED_TRANSPORTS
        .iter()
        .filter(|(transport, name, _)| *transport == site.transport() && *name == case)
        .map(|(transport, _, reason)| (format!("{transport:?}"), reason));
    let skipped = patterns.chain(transports).next();
    if let Some((kind, reason)) = &skipped {
        println!("skipped: {case}, {kind}: {reason}");
    }
    skipped.is_some()
}
