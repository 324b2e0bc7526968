use std::future::{Future as _, poll_fn};
use std::net::TcpListener;
use std::pin::pin;
use std::time::Duration;

use rustix::net::accept;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::yield_now;
use tokio::time::timeout;

use super::*;

/// More than the system keeps for who does not read.
const LARGE: usize = 16 * 1024 * 1024;

/// Much longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Two ends of a connection, as the system has them.
fn sockets_of_tcp() -> [OwnedFd; 2] {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (theirs, _) = listener.accept().unwrap();
    [ours, theirs].map(|stream| {
        stream.set_nonblocking(true).unwrap();
        stream.into()
    })
}

fn sockets_of_unix() -> [OwnedFd; 2] {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    [ours, theirs].map(|stream| {
        stream.set_nonblocking(true).unwrap();
        stream.into()
    })
}

type Ends<S> = [Socket<S>; 2];

fn tcp() -> Ends<TcpStream> {
    sockets_of_tcp().map(|socket| Socket::new(socket).unwrap())
}

fn unix() -> Ends<UnixStream> {
    sockets_of_unix().map(|socket| Socket::new(socket).unwrap())
}

/// Reads to memory that is filled, as the task of a connection reads what is small.
async fn read<S: Stream>(socket: &mut Socket<S>, bytes: &mut [u8]) -> io::Result<usize> {
    let mut buffer = ReadBuf::new(bytes);
    poll_fn(|cx| Pin::new(&mut *socket).poll_read(cx, &mut buffer)).await?;
    Ok(buffer.filled().len())
}

/// Reads so many bytes to memory that is not.
async fn read_large<S: Stream>(socket: &mut Socket<S>, len: usize) {
    let mut all = Vec::with_capacity(len);
    while all.len() < len {
        socket.read_buf(&mut all).await.unwrap();
    }
    assert!(all.iter().all(|&byte| byte == 7));
}

fn is_light<S>(socket: &Socket<S>) -> bool {
    matches!(socket.state, State::Light { .. })
}

#[tokio::test]
async fn small_messages_go_both_ways_and_the_end_is_seen() {
    async fn test<S: Stream>([mut ours, mut theirs]: Ends<S>) {
        let mut bytes = [0; 16];
        for round in 0..100u8 {
            // Nothing is waited for, from the first time on.
            let mut nobody = Context::from_waker(Waker::noop());
            let written = pin!(ours.write(&[round; 5])).poll(&mut nobody);
            assert!(matches!(written, Poll::Ready(Ok(5))), "{written:?}");
            assert_eq!(read(&mut theirs, &mut bytes).await.unwrap(), 5);
            assert_eq!(bytes[..5], [round; 5]);
            let number = [round];
            let slices = [IoSlice::new(&number), IoSlice::new(b"ok")];
            assert_eq!(theirs.write_vectored(&slices).await.unwrap(), 3);
            assert_eq!(read(&mut ours, &mut bytes).await.unwrap(), 3);
            assert_eq!(bytes[..3], [round, b'o', b'k']);
        }
        theirs.shutdown().await.unwrap();
        assert_eq!(read(&mut ours, &mut bytes).await.unwrap(), 0);
        assert_eq!(ours.write(b"still").await.unwrap(), 5);
        assert_eq!(read(&mut theirs, &mut bytes).await.unwrap(), 5);
        assert!(is_light(&ours) && is_light(&theirs));
        drop(ours);
        assert_eq!(read(&mut theirs, &mut bytes).await.unwrap(), 0);
    }
    test(tcp()).await;
    test(unix()).await;
}

/// What arrives is read by another task than the one that finds no room to write.
#[tokio::test]
async fn who_waits_to_read_is_not_forgotten_when_there_is_no_room_to_write() {
    async fn test<S: Stream + Send + 'static>([ours, mut theirs]: Ends<S>) {
        let (mut reader, mut writer) = tokio::io::split(ours);
        let reading = tokio::spawn(async move {
            let mut bytes = [0; 5];
            reader.read_exact(&mut bytes).await.unwrap();
            bytes
        });
        yield_now().await;
        let writing = tokio::spawn(async move {
            writer.write_all(&vec![7; LARGE]).await.unwrap();
            writer
        });
        yield_now().await;
        assert!(!writing.is_finished(), "there is room for everything");
        theirs.write_all(b"hello").await.unwrap();
        let said = timeout(PATIENCE, reading).await.expect("it is woken");
        assert_eq!(&said.unwrap(), b"hello");
        read_large(&mut theirs, LARGE).await;
        writing.await.unwrap();
    }
    test(tcp()).await;
    test(unix()).await;
}

/// Otherwise one large message would make all later ones dearer.
#[tokio::test]
async fn after_large_messages_a_socket_is_light_again_and_nobody_is_forgotten() {
    async fn test<S: Stream + Send + 'static>([mut ours, mut theirs]: Ends<S>) {
        for _ in 0..3 {
            let large = vec![7; LARGE];
            let (written, ()) =
                tokio::join!(ours.write_all(&large), read_large(&mut theirs, LARGE));
            written.unwrap();
            assert!(!is_light(&ours) && !is_light(&theirs));

            let (mut reader, mut writer) = tokio::io::split(ours);
            let reading = tokio::spawn(async move {
                let mut bytes = [0; 5];
                reader.read_exact(&mut bytes).await.unwrap();
                assert_eq!(&bytes, b"hello");
                reader
            });
            yield_now().await;
            for _ in 0..Socket::<S>::CALM {
                writer.write_all(b"small").await.unwrap();
                assert_eq!(read(&mut theirs, &mut [0; 16]).await.unwrap(), 5);
            }
            theirs.write_all(b"hello").await.unwrap();
            let reader = timeout(PATIENCE, reading).await.expect("it is woken");
            ours = reader.unwrap().unsplit(writer);
            ours.write_all(b"small").await.unwrap();
            assert_eq!(read(&mut theirs, &mut [0; 16]).await.unwrap(), 5);
            assert!(is_light(&ours) && !is_light(&theirs));
        }
    }
    test(tcp()).await;
    test(unix()).await;
}

/// By then a client has often said something, and one turn of the runtime is saved.
#[tokio::test]
async fn what_was_just_accepted_is_read_before_the_runtime_knows() {
    async fn test<S: Stream>([ours, theirs]: [OwnedFd; 2]) {
        let mut bytes = [0; 16];
        let mut theirs = Socket::<S>::new(theirs).unwrap();
        theirs.write_all(b"hello").await.unwrap();
        let mut ours = Socket::<S>::accepted(ours).unwrap();
        let mut nobody = Context::from_waker(Waker::noop());
        let said = pin!(read(&mut ours, &mut bytes)).poll(&mut nobody);
        assert!(matches!(said, Poll::Ready(Ok(5))), "{said:?}");
        // From then on it is waited for.
        let said = pin!(read(&mut ours, &mut bytes)).poll(&mut nobody);
        assert!(said.is_pending(), "{said:?}");
        let (said, written) = tokio::join!(read(&mut ours, &mut bytes), theirs.write(b"you"));
        assert_eq!((said.unwrap(), written.unwrap()), (3, 3));
        drop(theirs);
        assert_eq!(read(&mut ours, &mut bytes).await.unwrap(), 0);
    }
    test::<TcpStream>(sockets_of_tcp()).await;
    test::<UnixStream>(sockets_of_unix()).await;
}

#[tokio::test]
async fn what_was_just_accepted_and_says_nothing_is_waited_for() {
    async fn test<S: Stream>([ours, theirs]: [OwnedFd; 2]) {
        let mut bytes = [0; 16];
        let mut ours = Socket::<S>::accepted(ours).unwrap();
        let mut theirs = Socket::<S>::new(theirs).unwrap();
        let (said, written) = tokio::join!(read(&mut ours, &mut bytes), theirs.write(b"hello"));
        assert_eq!((said.unwrap(), written.unwrap()), (5, 5));
    }
    test::<TcpStream>(sockets_of_tcp()).await;
    test::<UnixStream>(sockets_of_unix()).await;
}

/// The system says so once, and then that nothing is left.
#[tokio::test]
async fn a_client_that_was_reset_before_it_was_read_is_an_error() {
    let [ours, theirs] = sockets_of_tcp();
    rustix::net::sockopt::set_socket_linger(&theirs, Some(Duration::ZERO)).unwrap();
    drop(theirs);
    let mut ours = Socket::<TcpStream>::accepted(ours).unwrap();
    let error = read(&mut ours, &mut [0; 16]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

/// The runtime is told once of those who came together, and once more of one who comes later.
#[tokio::test]
async fn all_clients_of_a_queue_are_accepted_and_none_is_looked_for_in_vain() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let at = listener.local_addr().unwrap();
    let client = || std::net::TcpStream::connect(at).unwrap();
    let listener = watch(listener.into()).unwrap();
    let mut looks = 0;
    let mut look = async || {
        let accepted = next(&listener, |listener| {
            looks += 1;
            accept(listener)
        });
        timeout(PATIENCE, accepted).await.unwrap().unwrap();
    };
    let _together = [client(), client(), client()];
    for _ in 0..3 {
        look().await;
    }
    let ((), _later) = tokio::join!(look(), async { client() });
    assert_eq!(looks, 4);
}

/// On one thread they would run when the flood is over.
#[tokio::test]
async fn a_flood_of_clients_keeps_nobody_else_from_running() {
    const CLIENTS: usize = 400;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1024).unwrap().into_std().unwrap();
    let at = listener.local_addr().unwrap();
    let clients = (0..CLIENTS).map(|_| std::net::TcpStream::connect(at).unwrap());
    let _clients: Vec<_> = clients.collect();
    let listener = watch(listener.into()).unwrap();
    // The first is waited for.
    let mut accepted = vec![next(&listener, |listener| accept(listener)).await.unwrap()];
    let other = tokio::spawn(async {});
    while accepted.len() < CLIENTS && !other.is_finished() {
        accepted.push(next(&listener, |listener| accept(listener)).await.unwrap());
    }
    assert!(other.is_finished(), "it waits for the end of the flood");
}

#[tokio::test]
async fn a_peer_that_is_gone_is_an_error() {
    async fn test<S: Stream>([mut ours, theirs]: Ends<S>) {
        ours.write_all(b"unread").await.unwrap();
        drop(theirs);
        let mut bytes = [0; 16];
        let error = read(&mut ours, &mut bytes).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        let error = ours.write(b"hello").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
    test(tcp()).await;
    test(unix()).await;
}

#[tokio::test]
async fn what_is_wished_is_asked_for_with_the_second_write_or_a_large_message() {
    use rustix::net::sockopt::{set_tcp_nodelay, tcp_nodelay};

    fn ends() -> Ends<TcpStream> {
        tcp().map(|end| end.with_wishes(|socket| set_tcp_nodelay(socket, true).unwrap()))
    }
    fn is_asked(socket: &Socket<TcpStream>) -> bool {
        tcp_nodelay(socket.descriptor().unwrap()).unwrap()
    }
    let [mut ours, mut theirs] = ends();
    for writes in 1..4 {
        ours.write_all(b"small").await.unwrap();
        assert_eq!(is_asked(&ours), writes > 1);
    }
    theirs.read_buf(&mut Vec::with_capacity(100)).await.unwrap();
    assert!(is_asked(&theirs), "it is the runtime's now");
}
