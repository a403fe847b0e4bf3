//! The bare pass-through proxy: the least that anything between a client and an upstream must do.
//!
//! Each client connection owns one upstream connection, bodies pass frame by frame, nothing is looked at. It is the
//! yardstick of every ratio. Deliberately absent: pooling, timeouts, logging and whatever else would make it slower.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;

type ProxyBody = BoxBody<Bytes, hyper::Error>;

/// Serves until the process ends.
pub(super) async fn serve(listener: TcpListener, upstream: SocketAddr) {
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            continue;
        };
        tokio::spawn(async move {
            let _ = socket.set_nodelay(true);
            let line: Arc<Mutex<Option<SendRequest<Incoming>>>> = Arc::default();
            let service = service_fn(move |request| pass(line.clone(), upstream, request));
            let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
        });
    }
}

async fn pass(
    line: Arc<Mutex<Option<SendRequest<Incoming>>>>,
    upstream: SocketAddr,
    mut request: Request<Incoming>,
) -> Result<Response<ProxyBody>, Infallible> {
    if let Ok(host) = HeaderValue::try_from(upstream.to_string()) {
        request.headers_mut().insert(header::HOST, host);
    }
    Ok(match forward(&line, upstream, request).await {
        Ok(response) => response.map(BodyExt::boxed),
        Err(_) => {
            let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed());
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            response
        }
    })
}

async fn forward(
    line: &Mutex<Option<SendRequest<Incoming>>>,
    upstream: SocketAddr,
    request: Request<Incoming>,
) -> io::Result<Response<Incoming>> {
    let mut line = line.lock().await;
    let ready = match line.as_mut() {
        Some(sender) => sender.ready().await.is_ok(),
        None => false,
    };
    if !ready {
        *line = Some(connect(upstream).await?);
    }
    let sender = line.as_mut().ok_or(io::ErrorKind::NotConnected)?;
    sender.send_request(request).await.map_err(io::Error::other)
}

/// A client connection whose driving task ends with it.
pub(super) async fn connect<B>(address: SocketAddr) -> io::Result<SendRequest<B>>
where
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let (sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    Ok(sender)
}
