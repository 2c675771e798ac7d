//! Probes over the host's network: one HTTP/1.1 request, over TLS where asked for, and those that its answer leads to,
//! one connection, or one gRPC call.

mod grpc;
mod redirect;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, ToSocketAddrs};
use tokio::time::timeout;

use super::tls;
use crate::backoff::go_duration;
use crate::runtime::{CONNECT_LIMIT, ErrorKind, HttpGet, PodNetwork, RuntimeError, ServingStatus};

/// The longest beginning of an answer that is read in search of the status line and of where it leads to.
const ANSWER_LIMIT: usize = 16 * 1024;
/// The most requests that answers lead to, with the first one. Source: Go's HTTP client.
const REQUESTS_LIMIT: usize = 10;
/// How long a connection is silent before the other side is asked whether it is there, how long that is waited for, and
/// how often it is asked. Source: Go's defaults.
const KEEP_ALIVE: (Duration, Duration, u32) = (Duration::from_secs(15), Duration::from_secs(15), 9);

/// The host's network reaches pods directly.
#[derive(Debug, Clone, Copy, Default)]
pub struct HostNetwork;

#[async_trait]
impl PodNetwork for HostNetwork {
    async fn http_get(&self, probe: &HttpGet, limit: Duration) -> Result<u16, RuntimeError> {
        let about = || {
            let scheme = if probe.tls { "https" } else { "http" };
            format!("Get \"{scheme}://{}:{}{}\"", probe.host, probe.port, probe.path)
        };
        match timeout(limit, ask(probe)).await {
            Ok(Ok(code)) => Ok(code),
            Ok(Err(error)) => Err(RuntimeError::other(format!("{}: {error}", about()))),
            Err(_) => {
                let message = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
                Err(RuntimeError::new(ErrorKind::Timeout, format!("{}: {message}", about())))
            }
        }
    }

    async fn tcp_connect(&self, host: &str, port: u16, limit: Duration) -> Result<(), RuntimeError> {
        match timeout(limit, TcpStream::connect((host, port))).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(RuntimeError::other(format!("dial tcp {host}:{port}: connect: {error}"))),
            Err(_) => Err(RuntimeError::new(
                ErrorKind::Timeout,
                format!("dial tcp {host}:{port}: i/o timeout"),
            )),
        }
    }

    async fn grpc_check(
        &self,
        address: SocketAddr,
        service: &str,
        limit: Duration,
    ) -> Result<ServingStatus, RuntimeError> {
        let asked = async { grpc::check(connect(address).await?, address, service).await };
        match timeout(limit, asked).await {
            Ok(Ok(status)) => Ok(status),
            Ok(Err(error)) => Err(RuntimeError::other(format!(
                "error: health rpc probe to {address} failed: {error}"
            ))),
            Err(_) => {
                let message = format!("timeout: health rpc did not complete within {}", go_duration(limit));
                Err(RuntimeError::new(ErrorKind::Timeout, message))
            }
        }
    }
}

/// Connects to what may vanish: a pod whose network is gone sends no reset, and a hook may wait for hours.
async fn connect(to: impl ToSocketAddrs) -> io::Result<TcpStream> {
    let connected = timeout(CONNECT_LIMIT, TcpStream::connect(to)).await;
    let stream = connected.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "i/o timeout"))??;
    let (silence, pause, times) = KEEP_ALIVE;
    sockopt::set_socket_keepalive(&stream, true)?;
    sockopt::set_tcp_keepidle(&stream, silence)?;
    sockopt::set_tcp_keepintvl(&stream, pause)?;
    sockopt::set_tcp_keepcnt(&stream, times)?;
    Ok(stream)
}

/// What the last answer says, when those before it led on.
async fn ask(probe: &HttpGet) -> io::Result<u16> {
    let mut probe = probe.clone();
    for _ in 0..REQUESTS_LIMIT {
        let (code, location) = ask_once(&probe).await?;
        match location.and_then(|location| redirect::next(&probe, &location)) {
            Some(next) => probe = next,
            None => return Ok(code),
        }
    }
    Err(io::Error::other(format!("stopped after {REQUESTS_LIMIT} redirects")))
}

/// The status code of the answer, and where it leads to, if it is a redirect.
async fn ask_once(probe: &HttpGet) -> io::Result<(u16, Option<String>)> {
    let stream = connect((probe.host.as_str(), probe.port)).await?;
    if probe.tls {
        ask_over(tls::connect(stream, &probe.host).await?, probe).await
    } else {
        ask_over(stream, probe).await
    }
}

async fn ask_over(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    probe: &HttpGet,
) -> io::Result<(u16, Option<String>)> {
    stream.write_all(request(probe).as_bytes()).await?;
    let mut answer = Vec::new();
    let mut piece = [0; 1024];
    while answer.len() < ANSWER_LIMIT {
        let read = stream.read(&mut piece).await?;
        answer.extend_from_slice(&piece[..read]);
        let code = status(&answer);
        let is_enough = code.is_some_and(|code| !redirect::is_redirect(code) || redirect::has_head(&answer));
        if is_enough || read == 0 {
            break;
        }
    }
    let code = status(&answer).ok_or_else(|| io::Error::other("malformed HTTP response"))?;
    let location = redirect::is_redirect(code).then(|| redirect::location(&answer));
    Ok((code, location.flatten()))
}

fn request(probe: &HttpGet) -> String {
    let clean = |text: &str| text.replace(['\r', '\n'], " ");
    let mut request = format!("GET {} HTTP/1.1\r\n", clean(&probe.path).replace(' ', "%20"));
    let given = |name: &str| probe.headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
    let host = format!("{}:{}", probe.host, probe.port);
    for (name, value) in [
        ("Host", host.as_str()),
        ("User-Agent", "kube-probe/1.35"),
        ("Accept", "*/*"),
        ("Connection", "close"),
    ] {
        if !given(name) {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    for (name, value) in &probe.headers {
        request.push_str(&format!("{}: {}\r\n", clean(name), clean(value)));
    }
    request.push_str("\r\n");
    request
}

/// The status code of an answer whose first line is complete.
fn status(answer: &[u8]) -> Option<u16> {
    let end = answer.iter().position(|byte| *byte == b'\n')?;
    let line = std::str::from_utf8(&answer[..end]).ok()?;
    line.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// What a probe of the path `/` comes to where a server answers one request after the other so, each over a
    /// connection of its own; and for which paths it was asked.
    async fn heard(answers: Vec<&'static str>) -> (Result<u16, String>, Vec<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let served = tokio::spawn(async move {
            let mut paths = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                let mut asked = [0; 1024];
                let read = stream.read(&mut asked).await.expect("a request");
                let asked = String::from_utf8_lossy(&asked[..read]);
                paths.push(asked.split(' ').nth(1).unwrap_or_default().to_owned());
                stream.write_all(answer.as_bytes()).await.expect("written");
                stream.shutdown().await.expect("ended");
            }
            paths
        });
        let probe = HttpGet {
            host: "127.0.0.1".to_owned(),
            port,
            path: "/".to_owned(),
            headers: Vec::new(),
            ..probe()
        };
        let code = ask(&probe).await.map_err(|error| error.to_string());
        (code, served.await.expect("served"))
    }

    #[tokio::test]
    async fn an_answer_that_leads_on_is_followed_to_the_last_one() {
        let moved = "HTTP/1.1 302 Found\r\nLocation: /broken\r\n\r\n";
        let broken = "HTTP/1.1 503 Service Unavailable\r\n\r\n";
        let (code, paths) = heard(vec![moved, broken]).await;
        assert_eq!((code, paths), (Ok(503), vec!["/".to_owned(), "/broken".to_owned()]));
        for stays in [
            "HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\n\r\n",
            "HTTP/1.1 302 Found\r\n\r\n",
            "HTTP/1.1 302 Found\r\nLocation: /cut",
        ] {
            assert_eq!(heard(vec![stays]).await.0, Ok(302), "{stays}");
        }
        let (code, paths) = heard(vec![moved; REQUESTS_LIMIT]).await;
        assert_eq!(
            (code, paths.len()),
            (Err("stopped after 10 redirects".to_owned()), REQUESTS_LIMIT)
        );
    }

    fn probe() -> HttpGet {
        HttpGet {
            tls: false,
            host: "10.0.0.1".to_owned(),
            port: 80,
            path: "/healthz".to_owned(),
            headers: vec![("host".to_owned(), "web\r\nX: y".to_owned())],
        }
    }

    #[test]
    fn a_probe_is_one_plain_request() {
        assert_eq!(
            request(&probe()),
            "GET /healthz HTTP/1.1\r\nUser-Agent: kube-probe/1.35\r\nAccept: */*\r\nConnection: close\r\n\
             host: web  X: y\r\n\r\n"
        );
    }

    #[test]
    fn the_status_code_is_in_the_first_line() {
        assert_eq!(status(b"HTTP/1.1 204 No Content\r\n"), Some(204));
        assert_eq!(status(b"HTTP/1.0 500\n"), Some(500));
        assert_eq!(status(b"HTTP/1.1 20"), None);
        assert_eq!(status(b"SSH-2.0\n"), None);
    }
}
