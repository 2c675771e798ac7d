//! What runs in a container whose image is only described by a scenario: this very program, which behaves as the
//! description says.
//!
//! It starts, after a while answers HTTP requests on its ports (200, with the host's name), ends by itself some time
//! later if it is to, and ends when asked to. As the first process of its container it gets no signal that it does not
//! listen for.

use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::time::Duration;

use orrery_api::random::Random;
use orrery_api::task::TaskGroup;
use orrery_play::scenario::{ImageScript, Span};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep, timeout};

/// How long somebody may take to send his request.
const PATIENCE: Duration = Duration::from_secs(10);
/// The port that is answered on if none is known.
const USUAL: u16 = 80;

/// How the containers of an image behave. Times are in milliseconds, from and to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Script {
    ready: (u64, u64),
    stop: (u64, u64),
    lifetime: (u64, u64),
    crash: f64,
    exit: Option<i32>,
    listen: Vec<u16>,
}

fn millis(span: Span) -> (u64, u64) {
    (span.low.as_millis() as u64, span.high.as_millis() as u64)
}

impl Script {
    /// What a scenario says of an image; `ports` are those that its containers are asked on, if it names none.
    pub fn of(image: &ImageScript, ports: &[u16]) -> Self {
        let mut listen = image.listen.clone();
        if listen.is_empty() {
            listen.extend(ports);
        }
        if listen.is_empty() {
            listen.push(USUAL);
        }
        // Docker starts a container at once: the start is a part of the time until it answers.
        let ready = Span {
            low: image.start.low + image.ready.low,
            high: image.start.high + image.ready.high,
        };
        Script {
            ready: millis(ready),
            stop: millis(image.stop),
            lifetime: millis(image.lifetime()),
            crash: image.crash,
            exit: image.exit,
            listen,
        }
    }
}

/// Behaves as `script` (JSON) says; returns how the container ends.
pub async fn run(script: &str) -> Result<ExitCode, String> {
    let script: Script = serde_json::from_str(script).map_err(|error| format!("the script: {error}"))?;
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| error.to_string())?;
    let random = Random::from_seed(seed);
    let draw = |(low, high): (u64, u64)| Duration::from_millis(random.between(low, high));
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| error.to_string())?;
    let ends = script.exit.is_some() || random.chance(script.crash);
    let end = async {
        match ends {
            true => sleep(draw(script.lifetime)).await,
            false => std::future::pending().await,
        }
    };
    let work = async {
        sleep(draw(script.ready)).await;
        println!("ready; answering on {:?}", script.listen);
        serve(&script.listen).await
    };
    tokio::select! {
        biased;
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = end => {
            let code = script.exit.unwrap_or(1);
            println!("ending with {code}, as the scenario wants it");
            return Ok(ExitCode::from(code as u8));
        }
        failed = work => return Err(failed),
    }
    sleep(draw(script.stop)).await;
    Ok(ExitCode::SUCCESS)
}

/// Answers on all ports, for ever; returns why it cannot.
async fn serve(ports: &[u16]) -> String {
    let tasks = TaskGroup::new();
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    for port in ports {
        let listener = match TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)).await {
            Ok(listener) => listener,
            // Another container of the pod answers there.
            Err(error) if error.kind() == ErrorKind::AddrInUse => continue,
            Err(error) => return format!("port {port}: {error}"),
        };
        let name = name.clone();
        tasks.spawn(async move {
            let answers = TaskGroup::new();
            loop {
                // Whoever went away before he was let in is no concern.
                if let Ok((stream, _)) = listener.accept().await {
                    answers.spawn(answer(stream, name.clone()));
                }
            }
        });
    }
    std::future::pending().await
}

async fn answer(mut stream: TcpStream, name: String) {
    let whole = async {
        let (mut request, mut part) = (Vec::new(), [0; 1024]);
        while !request.windows(4).any(|end| end == b"\r\n\r\n") {
            match stream.read(&mut part).await {
                Ok(0) | Err(_) => return,
                Ok(length) => request.extend_from_slice(&part[..length]),
            }
        }
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{name}",
            name.len()
        );
        // Who does not wait for the answer does not get it.
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.shutdown().await;
    };
    let _ = timeout(PATIENCE, whole).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_answers_where_it_is_asked() {
        let image = ImageScript::default();
        assert_eq!(Script::of(&image, &[]).listen, [80]);
        assert_eq!(Script::of(&image, &[8080]).listen, [8080]);
        let named = ImageScript {
            listen: vec![9000],
            ..ImageScript::default()
        };
        assert_eq!(Script::of(&named, &[8080]).listen, [9000]);
    }

    #[test]
    fn a_start_is_a_part_of_the_time_until_it_answers() {
        let image = ImageScript {
            start: Span::millis(50, 500),
            ready: Span::seconds(1, 3),
            ..ImageScript::default()
        };
        assert_eq!(Script::of(&image, &[]).ready, (1050, 3500));
    }
}
