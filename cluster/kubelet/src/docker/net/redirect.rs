//! Where an answer to a probe leads to. Pure. Source: Go's HTTP client as Kubernetes' kubelet probes with it: redirects
//! are followed as long as they stay on the host. Dots in paths are left to the server.

use http::Uri;

use crate::runtime::HttpGet;

/// Whether an answer with this code may lead on.
pub(super) fn is_redirect(code: u16) -> bool {
    matches!(code, 301 | 302 | 303 | 307 | 308)
}

/// Whether the head of an answer is there to its end.
pub(super) fn has_head(answer: &[u8]) -> bool {
    let has = |end: &[u8]| answer.windows(end.len()).any(|part| part == end);
    has(b"\n\r\n") || has(b"\n\n")
}

/// What the head of an answer says of where to go; nothing before it is there to its end.
pub(super) fn location(answer: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(answer);
    let head = text.lines().take_while(|line| !line.is_empty());
    let mut fields = head.filter_map(|line| line.split_once(':'));
    let (_, value) = fields.find(|(name, _)| name.eq_ignore_ascii_case("Location"))?;
    has_head(answer).then(|| value.trim().to_owned())
}

/// The request that an answer to `from` with this `Location` leads to; none if it leads nowhere, or to another host.
pub(super) fn next(from: &HttpGet, location: &str) -> Option<HttpGet> {
    let location = location.split('#').next().unwrap_or_default();
    let first = location.find([':', '/', '?']).map(|at| &location[at..]);
    let has_scheme = first.is_some_and(|rest| rest.starts_with(':'));
    if has_scheme || location.starts_with("//") {
        return with_host(from, location);
    }
    let path = from.path.split('?').next().unwrap_or_default();
    let path = match location.chars().next() {
        None => return None,
        Some('/') => location.to_owned(),
        Some('?') => format!("{path}{location}"),
        Some(_) => format!("{}{location}", &path[..=path.rfind('/')?]),
    };
    Some(HttpGet { path, ..from.clone() })
}

/// The same for a location that names a host, and the scheme or not.
fn with_host(from: &HttpGet, location: &str) -> Option<HttpGet> {
    let scheme = match location.starts_with("//") {
        true if from.tls => "https:",
        true => "http:",
        false => "",
    };
    let uri: Uri = format!("{scheme}{location}").parse().ok()?;
    let (tls, usual_port) = match uri.scheme_str()? {
        "https" => (true, 443),
        "http" => (false, 80),
        _ => return None,
    };
    let host = uri.host()?.trim_matches(['[', ']']);
    if !host.eq_ignore_ascii_case(&from.host) {
        return None;
    }
    let mut next = HttpGet {
        tls,
        port: uri.port_u16().unwrap_or(usual_port),
        path: match uri.query() {
            Some(query) => format!("{}?{query}", uri.path()),
            None => uri.path().to_owned(),
        },
        ..from.clone()
    };
    // A whole address names the host anew.
    if scheme.is_empty() {
        next.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("Host"));
    }
    Some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_of_an_answer_says_where_to_go() {
        let answer = b"HTTP/1.1 302 Found\r\nServer: x\r\nlocation: /ready?now \r\n\r\nLocation: /body";
        assert_eq!(location(answer).as_deref(), Some("/ready?now"));
        assert_eq!(location(&answer[..50]), None, "it may go on");
        assert_eq!(location(b"HTTP/1.1 302 Found\n\nLocation: /body"), None);
    }

    #[test]
    fn an_answer_leads_on_by_whole_and_by_relative_locations_on_the_same_host() {
        let from = HttpGet {
            tls: false,
            host: "10.0.0.1".to_owned(),
            port: 8080,
            path: "/app/live?full".to_owned(),
            headers: vec![("host".to_owned(), "web".to_owned())],
        };
        let leads = |location: &str| {
            let next = next(&from, location)?;
            let scheme = if next.tls { "https" } else { "http" };
            let named = next.headers.len();
            Some(format!("{scheme} {} {} {} {named}", next.host, next.port, next.path))
        };
        for (location, expected) in [
            (
                "/ready?x=http://other/#part",
                "http 10.0.0.1 8080 /ready?x=http://other/ 1",
            ),
            ("ready", "http 10.0.0.1 8080 /app/ready 1"),
            ("?brief", "http 10.0.0.1 8080 /app/live?brief 1"),
            ("http://10.0.0.1:9090/a?b", "http 10.0.0.1 9090 /a?b 0"),
            ("https://10.0.0.1", "https 10.0.0.1 443 / 0"),
            ("http://10.0.0.1?b", "http 10.0.0.1 80 /?b 0"),
            ("//10.0.0.1/a", "http 10.0.0.1 80 /a 1"),
        ] {
            assert_eq!(leads(location).as_deref(), Some(expected), "{location}");
        }
        for location in [
            "",
            "http://10.0.0.2/",
            "//web/",
            "https://web",
            "ftp://10.0.0.1/",
            "mailto:a",
        ] {
            assert_eq!(leads(location), None, "{location}");
        }
    }
}
