//! Follows a name at the matchmaker, for as long as somebody uses it.

use std::sync::Weak;
use std::time::Duration;

use super::balance::Table;
use super::daemon::{self, Backoff};
use super::matchmaker::{MatchmakerClient, Query};
use crate::client::Channel;
use crate::driver::now;
use crate::error::{CallError, Code, Error};
use crate::transport::{Address, ConnectOptions};

/// How long the matchmaker may hold a watch that has no news: 30 s keeps the traffic of an idle
/// fleet small, and a lost connection is noticed by its end or by the ping before that.
const WATCH: Duration = Duration::from_secs(30);

/// What is allowed for the answer to come back.
const MARGIN: Duration = Duration::from_secs(5);

/// Feeds `table` with every change of the name, until nobody holds the table. A matchmaker that is
/// away is asked again and again; what the table holds stays there meanwhile.
pub(super) async fn follow(
    matchmaker: Address,
    connect: ConnectOptions,
    query: Query,
    table: Weak<Table>,
) {
    let mut backoff = Backoff::new(&matchmaker);
    while let Err(error) = session(&matchmaker, &connect, &query, &table, &mut backoff).await {
        tracing::debug!(%error, service = query.name, "cannot follow the name");
        match table.upgrade() {
            Some(table) => table.fail(error),
            None => return,
        }
        tokio::time::sleep(backoff.next()).await;
    }
}

/// One connection to the matchmaker, from dialling to its end, or until nobody holds the table.
async fn session(
    matchmaker: &Address,
    connect: &ConnectOptions,
    query: &Query,
    table: &Weak<Table>,
    backoff: &mut Backoff,
) -> Result<(), Error> {
    let place = matchmaker.to_string();
    let away = |error| daemon::unreachable(error, &place);
    let link = daemon::dial(matchmaker, connect).await.map_err(away)?;
    let client = MatchmakerClient::new(Channel::over(link));
    let watching = client.with_deadline(WATCH + MARGIN);
    let mut position = None;
    // An answer without news comes after a wait, but at once from a matchmaker that is leaving.
    const PAUSE: Duration = Duration::from_millis(100);
    loop {
        let asked = now();
        let answer = match position {
            // The first answer comes at once, so that a matchmaker which hangs is noticed soon.
            None => client.watch(query, None, Duration::ZERO).await,
            Some(_) => watching.watch(query, position, WATCH).await,
        };
        let snapshot = answer.map_err(|error| match error {
            CallError::Rpc(error) => away(error),
            CallError::Service(refusal) => Error::new(Code::NotFound, refusal.to_string()),
        })?;
        let Some(table) = table.upgrade() else {
            return Ok(());
        };
        backoff.reset();
        let news = position != Some(snapshot.position());
        position = Some(snapshot.position());
        table.update(snapshot);
        drop(table);
        if !news && now().saturating_duration_since(asked) < PAUSE {
            tokio::time::sleep(PAUSE).await;
        }
    }
}
