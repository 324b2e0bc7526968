//! What callers and the task find on the desks.

use std::sync::atomic::AtomicUsize;
use std::task::Wake;
use std::thread;

use super::*;
use crate::proto::CallId;
use crate::wire::Payload;

fn desk() -> Arc<Shared> {
    Shared::new(Peer::new("test"), 16)
}

/// Of a runtime with several threads.
fn desks() -> Shared {
    Shared::of(1, Peer::new("test"), 16, true)
}

/// Leaves a call on each desk: threads take them in turns. Their tokens, in no order.
fn leave_on_all(desks: &Shared) -> Vec<usize> {
    let mut tokens: Vec<usize> = Vec::new();
    let has_all = |tokens: &[usize]| {
        let has = |desk| tokens.iter().any(|token| Token(*token).desk() == desk);
        (0..Token::DESKS).all(has)
    };
    while !has_all(&tokens) {
        let leave = || leave(desks).unwrap();
        tokens.push(thread::scope(|scope| scope.spawn(leave).join().unwrap()));
    }
    tokens
}

/// The task picks up what was left on all desks.
fn take_all(desks: &Shared) -> usize {
    let take = |desk| {
        let mut posts = Pile::default();
        desks.take_posts(desk, &mut posts);
        posts.len()
    };
    (0..desks.desks_len()).map(take).sum()
}

/// Counts how often it was woken.
#[derive(Default)]
struct Alarm(AtomicUsize);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Alarm {
    fn rings(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

fn leave(desk: &Shared) -> Result<usize, Error> {
    desk.call(Duration::MAX, None, |call, now, token| {
        *call = Call {
            token,
            ..Call::empty(now)
        };
    })
}

fn value(text: &'static str) -> Reply {
    Reply::Value(Payload::from(text.as_bytes()))
}

fn poll(desk: &Shared, token: usize) -> Poll<Reply> {
    desk.poll_reply(token, &mut Context::from_waker(Waker::noop()))
}

/// The task puts down one reply.
fn deliver(desk: &Shared, token: usize, reply: Reply) {
    desk.deliver(&mut Pile::of([(token, reply)]), &mut Vec::new());
}

/// The task picks up what was left.
fn take(desk: &Shared) -> Vec<Post> {
    let mut posts = Pile::default();
    desk.take_posts(0, &mut posts);
    posts.into_entries()
}

#[track_caller]
fn assert_not_executed(reply: Poll<Reply>) {
    match reply {
        Poll::Ready(Reply::Failure(error)) => {
            assert_eq!(error.executed(), Executed::No, "{error}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn tokens_are_used_again() {
    let desk = desk();
    let tokens = [(); 3].map(|()| leave(&desk).unwrap());
    let [first, second, _] = tokens;
    for _ in 0..100 {
        for token in [second, first] {
            deliver(&desk, token, value("done"));
            assert_eq!(poll(&desk, token), Poll::Ready(value("done")));
        }
        // The one that was free last comes first.
        assert_eq!(leave(&desk).ok(), Some(first));
        assert_eq!(leave(&desk).ok(), Some(second));
        take(&desk);
    }
    assert_eq!(desk.calls_in_flight(), 3);
    assert_eq!(lock(&desk.first).slots.len(), 3);
}

#[test]
fn a_reply_is_there_once_and_wakes_who_waits() {
    let desk = desk();
    let token = leave(&desk).unwrap();
    let alarm = Arc::new(Alarm::default());
    let waker = Waker::from(Arc::clone(&alarm));
    let mut cx = Context::from_waker(&waker);
    assert_eq!(desk.poll_reply(token, &mut cx), Poll::Pending);
    let mut wakers = Vec::new();
    desk.deliver(&mut Pile::of([(token, value("once"))]), &mut wakers);
    wakers.drain(..).for_each(|(_, waker)| waker.wake());
    assert_eq!(alarm.rings(), 1);
    assert_eq!(poll(&desk, token), Poll::Ready(value("once")));
    let again = poll(&desk, token);
    assert!(matches!(again, Poll::Ready(Reply::Failure(_))), "{again:?}");
    assert_eq!(desk.calls_in_flight(), 0);
}

#[test]
fn a_task_that_is_to_end_without_calls_is_woken_by_the_last() {
    let desk = desk();
    let task = Arc::new(Alarm::default());
    let waker = Waker::from(Arc::clone(&task));
    let sleep = || desk.sleep(&Context::from_waker(&waker));
    let tokens = [(); 3].map(|()| leave(&desk).unwrap());
    take(&desk);
    assert_eq!(sleep(), Some(true));
    desk.close_when_idle();
    assert_eq!(task.rings(), 1);
    assert_eq!(sleep(), Some(true));
    for token in &tokens[..2] {
        deliver(&desk, *token, value("done"));
    }
    assert_eq!(poll(&desk, tokens[0]), Poll::Ready(value("done")));
    desk.forget(tokens[1]);
    assert_eq!(task.rings(), 1);
    deliver(&desk, tokens[2], value("done"));
    assert_eq!(task.rings(), 1, "it has to be taken");
    assert_eq!(poll(&desk, tokens[2]), Poll::Ready(value("done")));
    assert_eq!(task.rings(), 2);
    assert_eq!(sleep(), Some(false));
}

#[test]
fn who_calls_again_is_not_counted_once_more_and_who_is_gone_is_let_go() {
    let desk = desk();
    let tasks = [(); 3].map(|()| Arc::new(Alarm::default()));
    let wakers = tasks.each_ref().map(|task| Waker::from(Arc::clone(task)));
    let call = |task: usize| {
        let mut cx = Context::from_waker(&wakers[task]);
        let write = |call: &mut Call, _, token| call.token = token;
        desk.call(Duration::MAX, Some(&mut cx), write).unwrap()
    };
    // One is held by `tasks` and one by `wakers`.
    let held = || tasks.each_ref().map(|task| Arc::strong_count(task) - 2);
    let answer = |tokens: &[usize]| {
        let mut woken = Vec::new();
        let replies = tokens.iter().map(|token| (*token, value("done")));
        desk.deliver(&mut Pile::of(replies), &mut woken);
        woken.iter().for_each(|(_, waker)| waker.wake_by_ref());
        desk.keep(&mut woken);
    };
    let tokens = [0, 1, 2].map(call);
    take(&desk);
    answer(&tokens[..2]);
    assert_eq!(poll(&desk, tokens[0]), Poll::Ready(value("done")));
    assert_eq!(held(), [1, 1, 1], "those of the free and the done are kept");
    assert_eq!(call(0), tokens[0]);
    assert_eq!(held(), [1, 1, 1], "it is the same");
    answer(&tokens[..1]);
    assert_eq!(poll(&desk, tokens[0]), Poll::Ready(value("done")));
    assert_eq!(call(1), tokens[0]);
    assert_eq!(held(), [0, 2, 1], "another takes its place");
    answer(&tokens);
    for token in tokens {
        assert_eq!(poll(&desk, token), Poll::Ready(value("done")));
    }
    assert_eq!(held(), [0, 0, 0], "no call is left, and nobody is kept");
    let alone = call(2);
    answer(&[alone]);
    assert_eq!(poll(&desk, alone), Poll::Ready(value("done")));
    assert_eq!(held(), [0, 0, 0], "nor is who called alone");
    assert_eq!(tasks.map(|task| task.rings()), [2, 2, 2]);
}

#[test]
fn the_slot_of_a_dropped_call_is_not_used_before_the_task_has_heard_of_it() {
    let desk = desk();
    let dropped = leave(&desk).unwrap();
    take(&desk);
    desk.forget(dropped);
    let next = leave(&desk).unwrap();
    assert_ne!(next, dropped);
    // A reply that was on its way is nobody's.
    deliver(&desk, dropped, value("of the dropped one"));
    assert_eq!(poll(&desk, next), Poll::Pending);
    let posts = take(&desk);
    assert!(matches!(posts[0], Post::Cancel(token) if token == dropped));
    assert_ne!(
        leave(&desk).unwrap(),
        dropped,
        "the post was taken, not read"
    );
    desk.release(dropped);
    assert_eq!(leave(&desk).unwrap(), dropped);
    assert_eq!(poll(&desk, dropped), Poll::Pending, "nothing is left of it");
}

#[test]
fn the_slot_of_a_call_that_is_dropped_with_its_reply_is_free_at_once() {
    let desk = desk();
    let token = leave(&desk).unwrap();
    take(&desk);
    deliver(&desk, token, value("unread"));
    desk.forget(token);
    assert!(take(&desk).is_empty(), "the task need not know");
    assert_eq!(leave(&desk).unwrap(), token);
}

#[test]
fn a_sleeping_task_is_woken_by_the_first_post_alone() {
    let desk = desk();
    let alarm = Arc::new(Alarm::default());
    let waker = Waker::from(Arc::clone(&alarm));
    let cx = Context::from_waker(&waker);
    assert_eq!(desk.sleep(&cx), Some(false));
    leave(&desk).unwrap();
    leave(&desk).unwrap();
    assert_eq!(alarm.rings(), 1);
    assert_eq!(desk.sleep(&cx), None, "there is something to do");
    take(&desk);
    assert_eq!(desk.sleep(&cx), Some(true));
}

#[test]
fn more_calls_than_can_be_waiting_are_turned_away() {
    let desk = desk();
    let error = (0..).find_map(|_| leave(&desk).err()).unwrap();
    assert_eq!(error.code(), Code::Overloaded);
    assert_eq!(desk.calls_in_flight(), desk.posts_max);
    take(&desk);
    assert!(leave(&desk).is_ok());
}

#[test]
fn after_the_end_a_call_has_not_run_and_a_post_changes_nothing() {
    let desk = desk();
    let (unsent, done) = (leave(&desk).unwrap(), leave(&desk).unwrap());
    let mut scratch = Scratch::default();
    scratch.replies.push((done, value("in time")));
    desk.close(Fault::Eof, &mut scratch);
    assert_eq!(poll(&desk, done), Poll::Ready(value("in time")));
    assert_not_executed(poll(&desk, unsent));
    assert_eq!(desk.calls_in_flight(), 0);

    let error = leave(&desk).unwrap_err();
    assert_eq!(error.code(), Fault::Eof.to_error().code());
    assert_eq!(error.executed(), Executed::No);
    desk.post(Post::Close(Fault::Closed));
    desk.post(Post::Cancel(unsent));
    desk.forget(unsent);
    assert!(take(&desk).is_empty());
    assert_eq!(desk.fault(), Some(&Fault::Eof));
}

#[test]
fn threads_leave_their_calls_on_desks_of_their_own() {
    let desks = desks();
    let tokens = leave_on_all(&desks);
    assert_eq!(desks.calls_in_flight(), tokens.len());
    let mut distinct = tokens.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), tokens.len());
    assert!(!desks.is_filling(), "no other call is under way");
    assert_eq!(take_all(&desks), tokens.len());

    // Whichever thread the replies come from and go to, each is its call's.
    let text = |token: usize| Reply::Value(Payload::copy_from_slice(&token.to_le_bytes()));
    let mut replies = Pile::of(tokens.iter().map(|token| (*token, text(*token))));
    desks.deliver(&mut replies, &mut Vec::new());
    for token in &tokens[1..] {
        assert_eq!(poll(&desks, *token), Poll::Ready(text(*token)));
    }
    desks.forget(tokens[0]);
    assert_eq!(desks.calls_in_flight(), 0);
}

/// The first that are woken are those that a runtime hands to its other threads.
#[test]
fn who_called_from_the_thread_of_the_task_is_woken_last() {
    let mut seen = [false; Token::DESKS];
    while seen.contains(&false) {
        let desks = desks();
        let tokens = leave_on_all(&desks);
        assert!(tokens.iter().all(|token| poll(&desks, *token).is_pending()));
        let deliver = || {
            let replies = tokens.iter().map(|token| (*token, Reply::default()));
            let mut wakers = Vec::new();
            desks.deliver(&mut Pile::of(replies), &mut wakers);
            let woken = wakers.iter().map(|(token, _)| Token(*token).desk());
            (own_number(), woken.collect::<Vec<_>>())
        };
        // Threads have the desks in turns.
        let (own, woken) = thread::scope(|scope| scope.spawn(deliver).join().unwrap());
        assert_eq!(woken.len(), tokens.len());
        let others = woken.iter().take_while(|desk| **desk != own).count();
        assert!(
            woken[others..].iter().all(|desk| *desk == own),
            "{own}: {woken:?}"
        );
        seen[own] = true;
    }
}

#[test]
fn what_is_no_call_stays_in_order_whichever_thread_leaves_it() {
    let desks = desks();
    for _ in 0..Token::DESKS {
        let answer = || desks.post(Post::Respond(CallId(1), Reply::default()));
        thread::scope(|scope| scope.spawn(answer).join().unwrap());
    }
    desks.post(Post::Close(Fault::Closed));
    assert_eq!(desks.desks_len(), 1, "the others are for calls");
    let posts = take(&desks);
    assert_eq!(posts.len(), Token::DESKS + 1);
    assert!(matches!(posts.last(), Some(Post::Close(_))));
}

#[test]
fn a_call_of_any_thread_wakes_the_task_and_keeps_it_from_sleeping() {
    let desks = desks();
    let alarm = Arc::new(Alarm::default());
    let waker = Waker::from(Arc::clone(&alarm));
    let cx = Context::from_waker(&waker);
    assert_eq!(desks.sleep(&cx), Some(false));
    let tokens = leave_on_all(&desks);
    assert_eq!(alarm.rings(), 1, "by the first");
    for number in 0..desks.desks_len() {
        assert_eq!(desks.sleep(&cx), None, "something is on desk {number}");
        desks.take_posts(number, &mut Pile::default());
    }
    assert_eq!(desks.sleep(&cx), Some(true));
    for token in &tokens {
        desks.forget(*token);
    }
    assert_eq!(alarm.rings(), 2, "by the first that is given up");
    assert_eq!(take_all(&desks), tokens.len());
    for token in tokens {
        desks.release(token);
    }
    assert_eq!(desks.sleep(&cx), Some(false));
}

#[test]
fn the_end_reaches_every_desk_and_those_that_were_not_there() {
    let desks = desks();
    let tokens = leave_on_all(&desks);
    let mut scratch = Scratch::default();
    desks.close(Fault::Eof, &mut scratch);
    for token in tokens {
        assert_not_executed(poll(&desks, token));
    }

    let desks = self::desks();
    desks.close(Fault::Eof, &mut scratch);
    for _ in 0..Token::DESKS {
        let leave = || leave(&desks).unwrap_err();
        let error = thread::scope(|scope| scope.spawn(leave).join().unwrap());
        assert_eq!(error.executed(), Executed::No);
    }
    assert_eq!(desks.calls_in_flight(), 0);
}

/// Threads call and wait for their replies, and the task sleeps whenever it may: if one waking were
/// lost, all would stand still.
#[test]
fn no_waking_is_lost() {
    const CALLS: usize = 50_000;
    const LIMIT: Duration = Duration::from_secs(20);
    let desks = desks();
    let task = thread::current();
    let waker = Waker::from(Arc::new(Unpark(task.clone())));
    let cx = Context::from_waker(&waker);
    let at_work = AtomicUsize::new(2);
    let caller = || {
        for call in 0..CALLS {
            // So that calls come at all moments of the task's falling asleep.
            (0..call % 97).for_each(|_| std::hint::spin_loop());
            let Ok(token) = leave(&desks) else { return };
            let waker = Waker::from(Arc::new(Unpark(thread::current())));
            let mut cx = Context::from_waker(&waker);
            while desks.poll_reply(token, &mut cx).is_pending() {
                thread::park();
            }
        }
        at_work.fetch_sub(1, Ordering::Relaxed);
        task.unpark();
    };
    let all_were = thread::scope(|scope| {
        scope.spawn(caller);
        scope.spawn(caller);
        let (mut posts, mut replies, mut wakers) = (Pile::default(), Pile::default(), Vec::new());
        while at_work.load(Ordering::Relaxed) > 0 {
            for desk in 0..desks.desks_len() {
                desks.take_posts(desk, &mut posts);
                for post in posts.entries() {
                    let Post::Call(call) = post else {
                        panic!("nobody gives up");
                    };
                    replies.push((call.token, value("done")));
                }
                posts.clear();
            }
            desks.deliver(&mut replies, &mut wakers);
            wakers.drain(..).for_each(|(_, waker)| waker.wake());
            if desks.sleep(&cx).is_some() {
                let begin = Instant::now();
                thread::park_timeout(LIMIT);
                if begin.elapsed() >= LIMIT {
                    let mut scratch = Scratch::default();
                    desks.close(Fault::Closed, &mut scratch);
                    scratch.wakers.drain(..).for_each(|(_, waker)| waker.wake());
                    return false;
                }
            }
        }
        true
    });
    assert!(all_were, "the task was not woken");
}

/// Wakes a thread.
struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
