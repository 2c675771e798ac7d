//! The only program in the images of the tests: one static binary, so that its image needs nothing else.
//!
//! ```text
//! web serve          an HTTP server on $PORT, or 80; ends at once on SIGTERM
//! web exit CODE      ends with CODE
//! web log LINES      writes `line 1` … to its output and ends
//! web write FILE TEXT  writes a file and ends
//! web sleep          does nothing, for ever
//! ```
//!
//! What the server answers to GET:
//!
//! * `/`: the pod's name and the image's version
//! * `/healthz`: 200; 503 in the first $READY_AFTER seconds, and after `/fail` was asked for
//! * `/env/NAME`, `/file/PATH`: what the container has there
//! * `/fetch/ADDRESS:PORT`: what the pod gets from there
//! * anything else: 404
//!
//! It is built by plain `rustc`: no dependencies, no workspace.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const SIGTERM: i32 = 15;
static FAILING: AtomicBool = AtomicBool::new(false);

unsafe extern "C" {
    fn signal(number: i32, handler: extern "C" fn(i32)) -> usize;
    fn _exit(code: i32) -> !;
}

/// The first process of a container dies of no signal unless it says so.
extern "C" fn end(_: i32) {
    unsafe { _exit(0) }
}

fn main() {
    unsafe { signal(SIGTERM, end) };
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve"] => serve(),
        ["exit", code] => std::process::exit(code.parse().expect("a number")),
        ["log", lines] => (1..=lines.parse().expect("a number")).for_each(|line: u32| println!("line {line}")),
        ["write", file, text] => std::fs::write(file, text).expect("written"),
        ["sleep"] => loop {
            std::thread::sleep(Duration::from_secs(3600));
        },
        _ => panic!("web serve | exit CODE | log LINES | write FILE TEXT | sleep"),
    }
}

fn serve() {
    let started = Instant::now();
    let port = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(80u16);
    let listener = TcpListener::bind(("0.0.0.0", port)).expect("the port is free");
    println!("serving version {} on port {port}", version());
    for stream in listener.incoming().flatten() {
        std::thread::spawn(move || answer(stream, started));
    }
}

fn version() -> String {
    std::fs::read_to_string("/version").unwrap_or_default().trim().to_owned()
}

fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}

fn answer(mut stream: TcpStream, started: Instant) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
    let first = lines.next()?.ok()?;
    while !lines.next()?.ok()?.is_empty() {}
    let path = first.split(' ').nth(1)?;
    println!("GET {path}");
    let (status, body) = respond(path, started);
    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    stream.write_all((head + &body).as_bytes()).ok()
}

fn respond(path: &str, started: Instant) -> (u16, String) {
    let parts: Vec<&str> = path.splitn(3, '/').skip(1).collect();
    match parts[..] {
        [""] => (200, format!("{} {}\n", hostname(), version())),
        ["healthz"] => {
            let ready_after = std::env::var("READY_AFTER").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(0);
            let early = started.elapsed() < Duration::from_secs(ready_after);
            if early || FAILING.load(Ordering::Relaxed) { (503, "failing\n".into()) } else { (200, "ok\n".into()) }
        }
        ["fail"] => {
            FAILING.store(true, Ordering::Relaxed);
            (200, "failing from now on\n".into())
        }
        ["env", name] => std::env::var(name).map_or((404, "not set\n".into()), |value| (200, value)),
        ["file", file] => {
            std::fs::read_to_string(format!("/{file}")).map_or_else(|error| (404, format!("{error}\n")), |text| (200, text))
        }
        ["fetch", address] => fetch(address).map_or_else(|error| (502, format!("{error}\n")), |text| (200, text)),
        _ => (404, "nothing here\n".into()),
    }
}

fn fetch(address: &str) -> std::io::Result<String> {
    let address: SocketAddr = address.parse().map_err(std::io::Error::other)?;
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(3))?;
    stream.set_read_timeout(Some(Duration::from_secs(3)))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text.split_once("\r\n\r\n").map_or(text.clone(), |(_, body)| body.to_owned()))
}
