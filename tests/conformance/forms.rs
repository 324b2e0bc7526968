//! Every form of argument, there and back.

use std::borrow::Cow;

use rpc_core::Server;

use super::service::{FormsClient, Point, pattern};
use super::site::Site;

async fn forms(site: &Site) -> (Server, FormsClient) {
    let (server, _) = site.serve().await;
    let channel = site.channel().connect().await.unwrap();
    (server, FormsClient::new(channel))
}

pub(crate) async fn text(site: Site) {
    let (_server, client) = forms(&site).await;
    assert_eq!(
        client.text("größer ⇒ 100 %\0").await.unwrap(),
        "größer ⇒ 100 %\0"
    );
}

pub(crate) async fn slice(site: Site) {
    let (_server, client) = forms(&site).await;
    let bytes: Vec<u8> = (0..=255).collect();
    assert_eq!(client.slice(&bytes).await.unwrap(), bytes);
}

pub(crate) async fn numbers(site: Site) {
    let (_server, client) = forms(&site).await;
    let numbers = [0, 250, 251, 65_535, 65_536, u64::from(u32::MAX), u64::MAX];
    assert_eq!(client.numbers(&numbers).await.unwrap(), numbers);
}

pub(crate) async fn reference(site: Site) {
    let (_server, client) = forms(&site).await;
    let point = Point { x: i32::MIN, y: 7 };
    assert_eq!(client.reference(&point).await.unwrap(), point);
}

pub(crate) async fn option(site: Site) {
    let (_server, client) = forms(&site).await;
    assert_eq!(client.option(None).await.unwrap(), None);
    assert_eq!(client.option(Some("")).await.unwrap().as_deref(), Some(""));
}

pub(crate) async fn cow(site: Site) {
    let (_server, client) = forms(&site).await;
    assert_eq!(client.cow(Cow::Borrowed("lent")).await.unwrap(), "lent");
    let owned = Cow::Owned("owned".to_owned());
    assert_eq!(client.cow(owned).await.unwrap(), "owned");
}

pub(crate) async fn tuple(site: Site) {
    let (_server, client) = forms(&site).await;
    let back = client.tuple(("a", 1, (true, 'ß'))).await.unwrap();
    assert_eq!(back, ("a".to_owned(), 1, (true, 'ß')));
}

pub(crate) async fn owned(site: Site) {
    let (_server, client) = forms(&site).await;
    assert_eq!(client.owned(vec![1, 2, 3]).await.unwrap(), [1, 2, 3]);
}

pub(crate) async fn no_arguments(site: Site) {
    let (_server, client) = forms(&site).await;
    client.nothing().await.unwrap();
}

pub(crate) async fn sixteen_arguments(site: Site) {
    let (_server, client) = forms(&site).await;
    let back = client
        .sixteen(
            u8::MAX,
            i8::MIN,
            u16::MAX,
            i16::MIN,
            u32::MAX,
            i32::MIN,
            u64::MAX,
            i64::MIN,
            u128::MAX,
            i128::MIN,
            1.5,
            -0.25,
            true,
            'z',
            "text",
            &[1, 2],
        )
        .await
        .unwrap();
    let expected = format!(
        "{} {} {} {} {} {} {} {} {} {} 1.5 -0.25 true z text [1, 2]",
        u8::MAX,
        i8::MIN,
        u16::MAX,
        i16::MIN,
        u32::MAX,
        i32::MIN,
        u64::MAX,
        i64::MIN,
        u128::MAX,
        i128::MIN
    );
    assert_eq!(back, expected);
}

pub(crate) async fn empty_values(site: Site) {
    let (_server, client) = forms(&site).await;
    assert_eq!(client.text("").await.unwrap(), "");
    assert_eq!(client.slice(&[]).await.unwrap(), []);
    assert_eq!(client.numbers(&[]).await.unwrap(), []);
    assert_eq!(client.owned(Vec::new()).await.unwrap(), []);
}

async fn there_and_back(site: &Site, length: usize) {
    let (_server, client) = forms(site).await;
    let bytes = pattern(length);
    assert!(client.slice(&bytes).await.unwrap() == bytes);
    assert!(client.owned(bytes.clone()).await.unwrap() == bytes);
    let text: String = "äb\n".repeat(length / 4);
    assert!(client.text(&text).await.unwrap() == text);
}

pub(crate) async fn one_mebibyte(site: Site) {
    there_and_back(&site, 1 << 20).await;
}

/// Far over one frame and over the window, so it goes in chunks under credit.
pub(crate) async fn three_mebibytes(site: Site) {
    there_and_back(&site, 3 << 20).await;
}
