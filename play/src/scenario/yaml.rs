//! YAML as people write it: short maps and lists on one line, long ones below each other.
//!
//! A tree of values and how it is laid out. It knows nothing of scenarios; what it writes, any YAML reader reads.

use serde_json::Value;

/// How wide a line may be.
const WIDTH: usize = 120;

/// A value to write.
#[derive(Debug, Clone, PartialEq)]
pub enum Yaml {
    /// Written as it is: a number, a word of the format, a duration.
    Plain(String),
    /// A text; quoted where it must be.
    Text(String),
    /// A list, on one line if it fits.
    List(Vec<Yaml>),
    /// A map, on one line if it fits.
    Map(Vec<(String, Yaml)>),
    /// A list of maps whose keys stand below each other, however short they are.
    Entries(Vec<Yaml>),
    /// In braces even if it takes several lines.
    Wrapped(Box<Yaml>),
}

impl Yaml {
    /// A word or number, as it is shown.
    pub fn plain(value: impl ToString) -> Self {
        Yaml::Plain(value.to_string())
    }

    /// A text.
    pub fn text(value: impl Into<String>) -> Self {
        Yaml::Text(value.into())
    }

    /// A text: what is shown of `value`.
    pub fn text_of(value: &impl ToString) -> Self {
        Yaml::Text(value.to_string())
    }

    /// A map of one key.
    pub fn one(key: &str, value: Yaml) -> Self {
        Yaml::Map(vec![(key.to_owned(), value)])
    }

    /// What JSON says.
    pub fn of_json(value: &Value) -> Self {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => Yaml::plain(value),
            Value::String(text) => Yaml::text(text),
            Value::Array(items) => Yaml::List(items.iter().map(Yaml::of_json).collect()),
            Value::Object(map) => Yaml::Map(
                map.iter()
                    .map(|(key, value)| (key.clone(), Yaml::of_json(value)))
                    .collect(),
            ),
        }
    }

    /// All on one line.
    pub fn flow(&self) -> String {
        match self {
            Yaml::Plain(word) => word.clone(),
            Yaml::Text(text) => scalar(text, true),
            Yaml::List(items) | Yaml::Entries(items) => {
                let items: Vec<String> = items.iter().map(Yaml::flow).collect();
                format!("[{}]", items.join(", "))
            }
            Yaml::Map(entries) if entries.is_empty() => "{}".to_owned(),
            Yaml::Map(entries) => {
                let entries: Vec<String> = entries
                    .iter()
                    .map(|(key, value)| format!("{}: {}", scalar(key, true), value.flow()))
                    .collect();
                format!("{{ {} }}", entries.join(", "))
            }
            Yaml::Wrapped(value) => value.flow(),
        }
    }

    /// A document: each key at the margin.
    pub fn document(entries: &[(String, Yaml)]) -> String {
        let mut out = String::new();
        for (key, value) in entries {
            entry(&mut out, "", 0, key, value);
        }
        out
    }
}

/// Writes `key: value`; the first line begins with `lead`, the others with as many spaces as `indent`.
fn entry(out: &mut String, lead: &str, indent: usize, key: &str, value: &Yaml) {
    let head = format!("{lead}{}:", scalar(key, false));
    match value {
        Yaml::Entries(items) if !items.is_empty() => {
            line(out, &head);
            items.iter().for_each(|item| below(out, indent + 2, item));
            return;
        }
        Yaml::Text(text) => {
            let text = scalar(text, false);
            if head.len() + 1 + text.len() <= WIDTH || !is_foldable(value) {
                return line(out, &format!("{head} {text}"));
            }
            line(out, &format!("{head} >-"));
            return fold(out, indent + 2, value);
        }
        _ => {}
    }
    let flow = value.flow();
    if head.len() + 1 + flow.len() <= WIDTH {
        return line(out, &format!("{head} {flow}"));
    }
    match value {
        Yaml::Map(entries) => {
            line(out, &head);
            let lead = " ".repeat(indent + 2);
            entries
                .iter()
                .for_each(|(key, value)| entry(out, &lead, indent + 2, key, value));
        }
        Yaml::List(items) => {
            line(out, &head);
            items.iter().for_each(|item| below(out, indent + 2, item));
        }
        Yaml::Wrapped(value) => {
            let mut text = format!("{head} ");
            wrap(&mut text, indent + 2, value);
            line(out, &text);
        }
        Yaml::Plain(_) | Yaml::Text(_) | Yaml::Entries(_) => line(out, &format!("{head} {flow}")),
    }
}

/// Writes an item of a list that stands below its key.
fn below(out: &mut String, indent: usize, item: &Yaml) {
    let lead = format!("{}- ", " ".repeat(indent));
    match item {
        Yaml::Map(entries) if !entries.is_empty() => {
            let others = " ".repeat(indent + 2);
            for (index, (key, value)) in entries.iter().enumerate() {
                let lead = if index == 0 { &lead } else { &others };
                entry(out, lead, indent + 2, key, value);
            }
        }
        other => {
            let mut text = lead;
            wrap(&mut text, indent + 4, other);
            line(out, &text);
        }
    }
}

/// Writes in braces, and goes to a new line before what does not fit on this one.
fn wrap(text: &mut String, indent: usize, value: &Yaml) {
    let column = |text: &str| text.rsplit('\n').next().unwrap_or_default().len();
    let items: Vec<(String, &Yaml)> = match value {
        Yaml::Map(entries) if !entries.is_empty() => entries
            .iter()
            .map(|(key, value)| (format!("{}: ", scalar(key, true)), value))
            .collect(),
        Yaml::List(items) | Yaml::Entries(items) => items.iter().map(|item| (String::new(), item)).collect(),
        Yaml::Wrapped(value) => return wrap(text, indent, value),
        scalar => return text.push_str(&scalar.flow()),
    };
    let (open, close) = if matches!(value, Yaml::Map(_)) {
        ("{ ", " }")
    } else {
        ("[", "]")
    };
    text.push_str(open);
    for (index, (key, value)) in items.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        // A brace and a comma or two may follow.
        let whole = key.len() + value.flow().len() + 4;
        if index > 0 && column(text) + 1 + whole > WIDTH {
            text.push('\n');
            text.push_str(&" ".repeat(indent));
        } else if index > 0 {
            text.push(' ');
        }
        text.push_str(key);
        if column(text) + whole > WIDTH + key.len() {
            wrap(text, indent + 2, value);
        } else {
            text.push_str(&value.flow());
        }
    }
    text.push_str(close);
}

/// Whether a text can be written over several lines without a change: words with one space between them.
fn is_foldable(value: &Yaml) -> bool {
    let Yaml::Text(text) = value else { return false };
    let printable = text
        .chars()
        .all(|letter| letter == ' ' || !letter.is_whitespace() && !letter.is_control());
    printable && !text.is_empty() && text.split(' ').all(|word| !word.is_empty())
}

fn fold(out: &mut String, indent: usize, value: &Yaml) {
    let Yaml::Text(text) = value else { return };
    let mut current = " ".repeat(indent);
    for word in text.split(' ') {
        if current.len() > indent && current.len() + 1 + word.len() > WIDTH {
            line(out, &current);
            current = " ".repeat(indent);
        }
        if current.len() > indent {
            current.push(' ');
        }
        current.push_str(word);
    }
    line(out, &current);
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

/// A text as a scalar; `flow` within braces and brackets, where more must be quoted.
fn scalar(text: &str, flow: bool) -> String {
    if is_plain(text, flow) {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            ' '..='~' => quoted.push(letter),
            letter if letter.is_alphanumeric() => quoted.push(letter),
            letter if u32::from(letter) <= 0xffff => quoted.push_str(&format!("\\u{:04X}", u32::from(letter))),
            letter => quoted.push_str(&format!("\\U{:08X}", u32::from(letter))),
        }
    }
    quoted.push('"');
    quoted
}

/// Whether a text means itself without quotes, and looks like no number and no word of YAML.
fn is_plain(text: &str, flow: bool) -> bool {
    const WORDS: [&str; 9] = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"];
    let letters: Vec<char> = text.chars().collect();
    let begins = letters
        .first()
        .is_some_and(|first| first.is_ascii_alphabetic() || matches!(first, '/' | '_'));
    let inner = |at: usize| {
        let letter = letters[at];
        let follows = letters.get(at + 1).is_some_and(char::is_ascii_alphanumeric);
        match letter {
            '/' | '_' | '.' | '-' | '=' | '*' => true,
            ':' => follows,
            ' ' if flow => follows,
            ' ' => letters.get(at + 1).is_some_and(|next| !matches!(next, ' ' | '#')),
            ',' | ';' | '\'' | '(' | ')' | '"' | '≤' | '≥' | '’' => !flow,
            letter => letter.is_ascii_alphanumeric(),
        }
    };
    begins && !WORDS.contains(&text.to_lowercase().as_str()) && (0..letters.len()).all(inner)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            "[a-z0-9 :,.#'\"{}~-]{0,30}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map("[a-zA-Z0-9/.: -]{1,20}", inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read_again(value in json()) {
            let forms = [
                Yaml::of_json(&value),
                Yaml::Wrapped(Box::new(Yaml::of_json(&value))),
                Yaml::Entries(vec![Yaml::of_json(&value), Yaml::one("key", Yaml::of_json(&value))]),
            ];
            for (index, form) in forms.into_iter().enumerate() {
                let wanted = if index < 2 { value.clone() } else { serde_json::json!([value, { "key": value }]) };
                let text = Yaml::document(&[("key".to_owned(), form)]);
                let read: Value = serde_yaml::from_str(&text).map_err(|error| TestCaseError::fail(format!("{error}:\n{text}")))?;
                prop_assert_eq!(&read["key"], &wanted, "{}", text);
            }
        }
    }

    #[test]
    fn what_does_not_fit_on_a_line_is_laid_out_below() {
        let manifest = serde_json::json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": "web:1"}]}}}
        });
        let step = |action: Yaml| Yaml::Map(vec![("at".to_owned(), Yaml::plain("5s")), ("apply".to_owned(), action)]);
        let steps = vec![step(Yaml::Wrapped(Box::new(Yaml::of_json(&manifest))))];
        let text = Yaml::document(&[
            ("about".to_owned(), Yaml::text("a word ".repeat(30).trim())),
            ("workload".to_owned(), Yaml::Entries(steps)),
            ("spec".to_owned(), Yaml::of_json(&manifest)),
        ]);
        insta::assert_snapshot!(text, @r#"
        about: >-
          a word a word a word a word a word a word a word a word a word a word a word a word a word a word a word a word a word
          a word a word a word a word a word a word a word a word a word a word a word a word a word
        workload:
          - at: 5s
            apply: { apiVersion: apps/v1, kind: Deployment, metadata: { name: web },
              spec: { replicas: 3, selector: { matchLabels: { app: web } },
                template: { metadata: { labels: { app: web } }, spec: { containers: [{ image: web:1, name: web }] } } } }
        spec:
          apiVersion: apps/v1
          kind: Deployment
          metadata: { name: web }
          spec:
            replicas: 3
            selector: { matchLabels: { app: web } }
            template: { metadata: { labels: { app: web } }, spec: { containers: [{ image: web:1, name: web }] } }
        "#);
    }
}
