//! Serves a recording on a port of this machine and moves through it as its user types.

use std::fs::File;
use std::io::BufReader;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use orrery_api::task::TaskGroup;
use orrery_apiserver::https::{self, TlsFiles};
use orrery_play::scenario::parse_moment;
use tokio::io::{AsyncBufReadExt, BufReader as Lines};
use tokio::signal::unix::{SignalKind, signal};

use super::frozen::Frozen;
use super::history::History;
use crate::daemon::{Failure, fail};
use crate::kubeconfig::{self, Access};
use crate::pki::Authority;
use crate::place::{Place, TemporaryFolder};

/// The kubeconfig's context.
const CONTEXT: &str = "orrery-past";
const HELP: &str =
    "type a time (93.2s), a step (+5s, -500ms), `next` or `back` for the next or last write, `quit` to end";

/// What the clock of the recording shows: ages in tables are counted from then.
static SHOWN: AtomicI64 = AtomicI64::new(0);

fn shown(_true_time: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(SHOWN.load(Ordering::Relaxed)).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Serves the recording `file` as it was at the moment `asked` for, on `port` of this machine (0: any that is free),
/// until it is told to quit or interrupted.
pub async fn serve(file: &Path, asked: Duration, port: u16) -> Result<(), Failure> {
    let about = format!("the recording {}", file.display());
    let input = File::open(file).map_err(fail(&about))?;
    let history = History::read(BufReader::new(input)).map_err(fail(&about))?;
    let folder = TemporaryFolder::new("orrery-past").map_err(fail("the folder for the kubeconfig"))?;
    let place = Place::new(folder.path());
    place.make().map_err(fail("the folder for the kubeconfig"))?;
    let authority = Authority::open(&place).map_err(fail("the certificates"))?;
    let pair = authority
        .server(&["localhost"], &[IpAddr::V4(Ipv4Addr::LOCALHOST)])
        .map_err(fail("the certificates"))?;
    let acceptor = https::acceptor(&TlsFiles {
        certificate: pair.certificate.as_bytes(),
        key: pair.key.as_bytes(),
        client_authority: authority.certificate().as_bytes(),
    })
    .map_err(fail("the certificates"))?;
    let listener = https::bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
        .await
        .map_err(fail("the API"))?;
    let port = listener.local_addr().map_err(fail("the API"))?.port();
    let user = authority
        .client("kubernetes-admin", &["system:masters"])
        .map_err(fail("the certificates"))?;
    let access = Access {
        name: CONTEXT,
        server: &format!("https://127.0.0.1:{port}"),
        authority: authority.certificate(),
        user: &user,
    };
    kubeconfig::merge(&place.kubeconfig(), &access).map_err(fail("the kubeconfig"))?;

    orrery_api::clock::set_error(shown);
    let at = asked.min(history.end);
    let frozen = Frozen::new(history.kinds, &history.written[..history.until(at)])
        .await
        .map_err(fail(&about))?;
    let tasks = TaskGroup::new();
    tasks.spawn(https::serve(listener, acceptor, frozen.clone()));
    println!("{}: {} writes", history.title, history.written.len());
    println!("  export KUBECONFIG={}", place.kubeconfig().display());
    println!("  kubectl get all -A");
    println!("{HELP}");
    set_clock(&history, at);
    println!("{}", describe(&history, asked));
    stay(&history, &frozen, at).await
}

/// Moves as its user types, until the end.
async fn stay(history: &History, frozen: &Frozen, mut at: Duration) -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate()).map_err(fail("cannot listen for signals"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(fail("cannot listen for signals"))?;
    let mut lines = Lines::new(tokio::io::stdin()).lines();
    let mut typing = true;
    loop {
        let line = tokio::select! {
            biased;
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            line = lines.next_line(), if typing => line.ok().flatten(),
        };
        let Some(line) = line else {
            // Started in the background: it stays until it is stopped.
            typing = false;
            continue;
        };
        match Order::read(&line, history, at) {
            Ok(Order::Quit) => return Ok(()),
            Ok(Order::Show(asked)) => {
                at = asked.min(history.end);
                frozen
                    .show(&history.written[..history.until(at)])
                    .await
                    .map_err(fail("the recording"))?;
                set_clock(history, at);
                println!("{}", describe(history, asked));
            }
            Err(why) => println!("{why}"),
        }
    }
}

fn set_clock(history: &History, at: Duration) {
    SHOWN.store(history.clock(at).as_millisecond(), Ordering::Relaxed);
}

/// What is shown when `asked` for, in a line: that moment, or the end of the recording, if that was before.
fn describe(history: &History, asked: Duration) -> String {
    let at = asked.min(history.end);
    let count = history.until(at);
    let last = count.checked_sub(1).and_then(|index| history.written.get(index));
    let seconds = at.as_secs_f64();
    let place = if asked > at {
        format!("at {seconds} s, when the run ended")
    } else {
        format!("at {seconds} s")
    };
    let Some(last) = last else {
        return format!("{place}: nothing was written yet");
    };
    let what: Vec<String> = last
        .changes
        .iter()
        .map(|(key, value)| {
            let name = key.strip_prefix("/registry/").unwrap_or(key);
            let verb = if value.is_some() { "put" } else { "delete" };
            format!("{verb} {name}")
        })
        .collect();
    format!(
        "{place}: revision {}, the last write {:.3} s before: {}",
        last.revision,
        seconds - Duration::from_nanos(last.at).as_secs_f64(),
        what.join(", ")
    )
}

/// What the user wants.
#[derive(Debug, PartialEq, Eq)]
enum Order {
    Show(Duration),
    Quit,
}

impl Order {
    fn read(line: &str, history: &History, at: Duration) -> Result<Self, String> {
        let line = line.trim();
        let count = history.until(at);
        let moment = match line {
            "quit" | "exit" | "q" => return Ok(Order::Quit),
            "next" | "n" => history.moment(count).ok_or("that was the last write")?,
            // Before the last write there is the one before it, at its own moment.
            "back" | "b" => {
                let now = count.checked_sub(1).and_then(|index| history.moment(index));
                let now = now.ok_or("nothing was written before")?;
                let earlier = history
                    .written
                    .partition_point(|written| u128::from(written.at) < now.as_nanos());
                earlier
                    .checked_sub(1)
                    .and_then(|index| history.moment(index))
                    .unwrap_or_default()
            }
            text => {
                let time = |text: &str| parse_moment(text).map_err(|why| format!("{why}; {HELP}"));
                match (text.strip_prefix('+'), text.strip_prefix('-')) {
                    (Some(step), _) => at + time(step)?,
                    (None, Some(step)) => at.saturating_sub(time(step)?),
                    (None, None) => time(text)?,
                }
            }
        };
        Ok(Order::Show(moment))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history() -> History {
        let text = r#"{"title":"web","begins":"2026-01-01T00:00:00Z"}
{"at":1000000000,"revision":2,"changes":[["/registry/pods/default/a","1"]]}
{"at":2000000000,"revision":3,"changes":[["/registry/pods/default/b","1"]]}
{"at":2000000000,"revision":4,"changes":[["/registry/pods/default/a",null]]}
{"ended":4500000000}
"#;
        History::read(text.as_bytes()).expect("it is right")
    }

    fn shows(line: &str, at: u64) -> Result<u128, String> {
        match Order::read(line, &history(), Duration::from_millis(at))? {
            Order::Show(moment) => Ok(moment.as_millis()),
            Order::Quit => Err("quit".to_owned()),
        }
    }

    #[test]
    fn its_user_moves_by_time_and_by_write() {
        assert_eq!(shows("93.2s", 0), Ok(93_200));
        assert_eq!(shows("93.2", 0), Ok(93_200));
        assert_eq!(shows("+1500ms", 500), Ok(2000));
        assert_eq!(shows("-10s", 500), Ok(0));
        assert_eq!(shows("2m", 500), Ok(120_000));
        assert_eq!(shows("1m30s", 500), Ok(90_000));
        assert_eq!(shows("next", 0), Ok(1000));
        assert_eq!(shows("n", 1500), Ok(2000));
        assert_eq!(shows("next", 2000), Err("that was the last write".to_owned()));
        assert_eq!(shows("back", 5000), Ok(1000));
        assert_eq!(shows("back", 1000), Ok(0));
        assert_eq!(shows("back", 10), Err("nothing was written before".to_owned()));
        assert_eq!(shows("quit", 0), Err("quit".to_owned()));
        assert!(shows("yesterday", 0).is_err_and(|why| why.contains("is not a duration")));
        assert!(shows("-", 0).is_err());
    }

    #[test]
    fn it_says_where_it_is() {
        let at = |millis| describe(&history(), Duration::from_millis(millis));
        assert_eq!(at(100), "at 0.1 s: nothing was written yet");
        assert_eq!(
            at(2250),
            "at 2.25 s: revision 4, the last write 0.250 s before: delete pods/default/a"
        );
        let end = "revision 4, the last write 2.500 s before: delete pods/default/a";
        assert_eq!(at(4500), format!("at 4.5 s: {end}"));
        assert_eq!(at(9_000_000), format!("at 4.5 s, when the run ended: {end}"));
    }
}
