//! The second codec, chosen in one line.

use std::borrow::Cow;

use rpc_core::{CallError, CodecId};

use super::service::{Answers, CallerServer, FormsClient, MathError, Point, WorkClient, pattern};
use super::site::Site;

pub(crate) async fn postcard_by_one_line(site: Site) {
    let (_server, _) = site.serve().await;
    let channel = site.channel().codec(CodecId::POSTCARD);
    let client = WorkClient::new(channel.connect().await.unwrap());
    assert_eq!(client.add(-2, 3).await, Ok(1));
    let error = client.divide(1, 0).await.unwrap_err();
    assert_eq!(
        error,
        CallError::Service(MathError::DivisionByZero { dividend: 1 })
    );
    // Both codecs at one server, beside each other.
    assert_eq!(site.client().await.add(-2, 3).await, Ok(1));
}

pub(crate) async fn a_callback_in_postcard(site: Site) {
    let (_server, _) = site.serve().await;
    let channel = site.channel().codec(CodecId::POSTCARD);
    let channel = channel.service(CallerServer::new(Answers("42")));
    let client = WorkClient::new(channel.connect().await.unwrap());
    let answer = client.ask_back("how many?").await;
    assert_eq!(answer, Ok("how many? 42".into()));
}

pub(crate) async fn every_form_in_postcard(site: Site) {
    let (_server, _) = site.serve().await;
    let channel = site.channel().codec(CodecId::POSTCARD);
    let client = FormsClient::new(channel.connect().await.unwrap());
    let large = pattern(1 << 20);
    let point = Point { x: -1, y: 1 };
    assert_eq!(client.text("ä").await.unwrap(), "ä");
    assert!(client.slice(&large).await.unwrap() == large);
    assert_eq!(client.numbers(&[1, u64::MAX]).await.unwrap(), [1, u64::MAX]);
    assert_eq!(client.reference(&point).await.unwrap(), point);
    assert_eq!(client.option(None).await.unwrap(), None);
    assert_eq!(client.cow(Cow::Borrowed("c")).await.unwrap(), "c");
    let tuple = client.tuple(("a", 1, (true, 'ß'))).await.unwrap();
    assert_eq!(tuple, ("a".to_owned(), 1, (true, 'ß')));
    assert!(client.owned(large.clone()).await.unwrap() == large);
    client.nothing().await.unwrap();
}
