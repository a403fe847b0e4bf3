//! Accepting connections and serving each in a task of its own: HTTP/1.1 and HTTP/2, a bounded number at a time, with
//! an orderly end. Connections belong to [`Connections`], not to the accept loop, so that streams outlive a restart of
//! the door that accepted them.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use greenroom_kit::Card;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answer::DoorBody;
use super::socket::Socket;

/// Pause after an accept failed for a reason that may pass, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// hyper's buffer per connection: the largest head, and what may wait to be written for a slow client.
const BUFFER: usize = 64 * 1024;
/// Streams of one HTTP/2 connection.
const H2_STREAMS: u32 = 1024;
/// How often an idle HTTP/2 connection is probed, and how long it may take to answer.
const H2_PING: Duration = Duration::from_secs(20);

/// All open connections and how they are to end.
pub struct Connections {
    room: Arc<Semaphore>,
    tasks: TaskTracker,
    /// Finish what you are doing, take nothing new.
    finish: CancellationToken,
    /// Close now.
    cut: CancellationToken,
    header_timeout: Duration,
    stall: Duration,
}

impl Connections {
    /// Room for `most` connections.
    #[must_use]
    pub fn new(most: usize, header_timeout: Duration, stall: Duration) -> Arc<Self> {
        Arc::new(Self {
            room: Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))),
            tasks: TaskTracker::new(),
            finish: CancellationToken::new(),
            cut: CancellationToken::new(),
            header_timeout,
            stall,
        })
    }

    /// How many are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.tasks.len()
    }

    /// Asks every connection to finish its present exchange and close; idle ones close at once.
    pub fn finish(&self) {
        self.finish.cancel();
    }

    /// Waits at most `limit` for connections to finish, then closes the rest.
    pub async fn end(&self, limit: Duration) {
        self.finish();
        self.tasks.close();
        if tokio::time::timeout(limit, self.tasks.wait()).await.is_err() {
            tracing::info!(connections = self.tasks.len(), "closing connections that did not finish in time");
            self.cut.cancel();
            self.tasks.wait().await;
        }
    }

    /// Accepts for ever; each request is answered by `answer`, and `card` shows how many connections are open.
    ///
    /// # Errors
    /// When the listener itself is broken.
    pub async fn accept<A, F>(
        self: &Arc<Self>,
        listener: &TcpListener,
        card: &Arc<Card>,
        answer: A,
    ) -> io::Result<Infallible>
    where
        A: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<DoorBody>> + Send + 'static,
    {
        loop {
            let permit = self.room.clone().acquire_owned().await.map_err(io::Error::other)?;
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) if of_one_connection(&error) => continue,
                Err(error) if passes(&error) => {
                    tracing::warn!(%error, "accept failed, will be tried again");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let (connections, answer, shown) = (self.clone(), answer.clone(), Shown::on(card));
            self.tasks.spawn(async move {
                connections.serve(stream, answer).await;
                drop((shown, permit));
            });
        }
    }

    async fn serve<A, F>(&self, stream: TcpStream, answer: A)
    where
        A: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
        F: Future<Output = Response<DoorBody>> + Send + 'static,
    {
        // Small frames must leave at once. A failure here means that the client is gone already.
        let _ = stream.set_nodelay(true);
        let dialect = tokio::select! {
            dialect = tokio::time::timeout(self.header_timeout, listen_in(&stream)) => dialect,
            () = self.finish.cancelled() => return,
        };
        // Boxed, because a connection keeps room for a request's work as long as it lives.
        let service = service_fn(move |request| {
            let answered: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(answer(request));
            async move { Ok::<_, Infallible>(answered.await) }
        });
        let io = TokioIo::new(Socket::new(stream, self.stall));
        match dialect {
            Ok(Ok(Dialect::Http1)) => {
                let mut builder = http1::Builder::new();
                builder.timer(TokioTimer::new()).header_read_timeout(self.header_timeout).max_buf_size(BUFFER);
                self.see_to_the_end(builder.serve_connection(io, service)).await;
            }
            Ok(Ok(Dialect::Http2)) => {
                let mut builder = http2::Builder::new(TokioExecutor::new());
                builder
                    .timer(TokioTimer::new())
                    .max_concurrent_streams(H2_STREAMS)
                    .max_header_list_size(BUFFER as u32)
                    .keep_alive_interval(H2_PING)
                    .keep_alive_timeout(H2_PING);
                // Boxed, because few connections are of this kind and it is the larger one.
                Box::pin(self.see_to_the_end(builder.serve_connection(io, service))).await;
            }
            Ok(Err(error)) => tracing::debug!(%error, "connection ended before it spoke"),
            Err(_) => tracing::debug!("connection ended: the client said nothing"),
        }
    }

    async fn see_to_the_end<C>(&self, connection: C)
    where
        C: Graceful + Future<Output = hyper::Result<()>>,
    {
        let mut connection = pin!(connection);
        let mut finishing = false;
        loop {
            tokio::select! {
                biased;
                () = self.cut.cancelled() => return,
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(error = %root_cause(&error), "connection ended early");
                    }
                    return;
                }
                () = self.finish.cancelled(), if !finishing => {
                    finishing = true;
                    connection.as_mut().finish_gracefully();
                }
            }
        }
    }
}

/// Both kinds of connection can be asked to finish what they are doing.
trait Graceful {
    fn finish_gracefully(self: Pin<&mut Self>);
}

impl<S> Graceful for http1::Connection<TokioIo<Socket<TcpStream>>, S>
where
    S: HttpService<Incoming, ResBody = DoorBody>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn finish_gracefully(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<S> Graceful for http2::Connection<TokioIo<Socket<TcpStream>>, S, TokioExecutor>
where
    S: HttpService<Incoming, ResBody = DoorBody>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    S::Future: Send + 'static,
{
    fn finish_gracefully(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Http1,
    Http2,
}

/// How HTTP/2 begins; no HTTP/1 request does.
const PREFACE: &[u8] = b"PRI ";
/// Pause before looking again at a client that has sent less than that.
const HALF_A_WORD: Duration = Duration::from_millis(5);

/// Looks at the first bytes and leaves them where they are: a buffer in front of the parser would make it double its own
/// for as long as the connection lives.
async fn listen_in(stream: &TcpStream) -> io::Result<Dialect> {
    let mut first = [0; PREFACE.len()];
    loop {
        let seen = stream.peek(&mut first).await?;
        match &first[..seen] {
            [] => return Err(io::ErrorKind::UnexpectedEof.into()),
            PREFACE => return Ok(Dialect::Http2),
            seen if PREFACE.starts_with(seen) => tokio::time::sleep(HALF_A_WORD).await,
            _ => return Ok(Dialect::Http1),
        }
    }
}

/// One connection on the board, for as long as it is open.
struct Shown(Arc<Card>);

impl Shown {
    fn on(card: &Arc<Card>) -> Self {
        card.add_in_flight(1);
        Self(card.clone())
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.0.add_in_flight(-1);
    }
}

fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// The client gave up before it was accepted.
fn of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

/// Out of files, buffers or memory: others may close something.
fn passes(error: &io::Error) -> bool {
    const ENOMEM: i32 = 12;
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ENOBUFS: i32 = 105;
    error.kind() == io::ErrorKind::Interrupted
        || matches!(error.raw_os_error(), Some(ENOMEM | ENFILE | EMFILE | ENOBUFS))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use http::StatusCode;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_util::task::AbortOnDropHandle;

    use super::*;
    use crate::http::{answer, sse};

    struct Forever;

    impl sse::EventStream for Forever {
        fn poll_chunk(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Option<bytes::Bytes>> {
            std::task::Poll::Ready(Some(bytes::Bytes::from_static(&[b'x'; 4096])))
        }
    }

    async fn answer_all(request: Request<Incoming>) -> Response<DoorBody> {
        match request.uri().path() {
            "/flood" => answer::events(Forever),
            "/slow" => {
                tokio::time::sleep(Duration::from_millis(300)).await;
                answer::whole(StatusCode::OK, "text/plain", "late")
            }
            _ => answer::whole(StatusCode::OK, "text/plain", "hello"),
        }
    }

    async fn start(most: usize, header: u64, stall: u64) -> (SocketAddr, Arc<Connections>, AbortOnDropHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Connections::new(most, Duration::from_millis(header), Duration::from_millis(stall));
        let accepting = connections.clone();
        let task = AbortOnDropHandle::new(tokio::spawn(async move {
            let card = greenroom_kit::Board::default().card("http", "door", None);
            let _ = accepting.accept(&listener, &card, answer_all).await;
        }));
        (address, connections, task)
    }

    async fn get(address: SocketAddr, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
        stream
    }

    async fn rest(mut stream: TcpStream) -> String {
        let mut bytes = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut bytes)).await.unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[tokio::test]
    async fn silent_and_half_spoken_heads_are_closed() {
        let (address, _connections, _task) = start(10, 50, 1000).await;
        assert_eq!(rest(TcpStream::connect(address).await.unwrap()).await, "");
        let mut half = TcpStream::connect(address).await.unwrap();
        half.write_all(b"GET / HTTP/1.1\r\nhost:").await.unwrap();
        let answer = rest(half).await;
        assert!(!answer.contains("hello"), "{answer}");
    }

    #[tokio::test]
    async fn a_flooded_client_that_reads_nothing_is_closed() {
        let (address, connections, _task) = start(10, 1000, 100).await;
        let stream = get(address, "/flood").await;
        stream.readable().await.unwrap();
        assert_eq!(connections.open(), 1);
        connections.tasks.close();
        tokio::time::timeout(Duration::from_secs(5), connections.tasks.wait()).await.unwrap();
        drop(stream);
    }

    #[tokio::test]
    async fn further_connections_wait_their_turn() {
        let (address, connections, _task) = start(1, 1000, 1000).await;
        let first = get(address, "/").await;
        let second = get(address, "/").await;
        let mut one = [0; 1];
        assert!(tokio::time::timeout(Duration::from_millis(100), second.peek(&mut one)).await.is_err());
        assert_eq!(connections.open(), 1);
        drop(first);
        tokio::time::timeout(Duration::from_secs(5), second.peek(&mut one)).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn the_end_lets_exchanges_finish_and_cuts_the_rest() {
        let (address, connections, _task) = start(10, 60_000, 60_000).await;
        let idle = get(address, "/").await;
        let mut buffer = [0; 512];
        idle.readable().await.unwrap();
        idle.try_read(&mut buffer).unwrap();
        let busy = get(address, "/slow").await;
        let flood = get(address, "/flood").await;
        while connections.open() < 3 {
            tokio::task::yield_now().await;
        }
        flood.readable().await.unwrap();
        let ending = connections.clone();
        let end = tokio::spawn(async move { ending.end(Duration::from_millis(600)).await });
        assert_eq!(rest(idle).await, "");
        assert!(rest(busy).await.contains("late"));
        end.await.unwrap();
        assert_eq!(connections.open(), 0);
    }

    #[tokio::test]
    async fn http2_is_spoken_too() {
        let (address, _connections, _task) = start(10, 1000, 1000).await;
        crate::install_crypto();
        let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
        let answer = client.get(format!("http://{address}/")).send().await.unwrap();
        assert_eq!((answer.version(), answer.text().await.unwrap().as_str()), (http::Version::HTTP_2, "hello"));
    }
}
