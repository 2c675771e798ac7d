//! The least HTTP client: one GET, one connection, limits for all of it.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(3);

/// Status and body of `http://ADDRESS PATH`.
pub fn get(address: &str, path: &str) -> io::Result<(u16, String)> {
    let address: SocketAddr = address
        .parse()
        .map_err(|error| io::Error::other(format!("{address}: {error}")))?;
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .ok_or_else(|| io::Error::other("no HTTP answer"))?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((
        status.ok_or_else(|| io::Error::other(format!("no status in {head:?}")))?,
        body.to_owned(),
    ))
}

/// The body of an answer 200.
pub fn body(address: &str, path: &str) -> io::Result<String> {
    match get(address, path)? {
        (200, body) => Ok(body),
        (status, body) => Err(io::Error::other(format!("{status}: {body}"))),
    }
}
