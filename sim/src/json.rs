//! JSON that is walked through without being built: for who needs a little of a large text.

use std::borrow::Cow;

use memchr::memchr2;

/// JSON that is walked through once. What is passed over is only looked at as far as finding its end needs.
#[derive(Debug)]
pub struct Text<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Text<'a> {
    /// The text at its beginning.
    pub fn new(bytes: &'a [u8]) -> Self {
        Text { bytes, at: 0 }
    }

    /// The next byte that is no space, which is not taken.
    pub fn peek(&mut self) -> Option<u8> {
        while let b' ' | b'\n' | b'\r' | b'\t' = self.bytes.get(self.at)? {
            self.at += 1;
        }
        Some(self.bytes[self.at])
    }

    fn take(&mut self, wanted: u8) -> Option<()> {
        (self.peek()? == wanted).then(|| self.at += 1)
    }

    /// Goes into an object or a list; whether there is anything in it.
    pub fn open(&mut self, bracket: u8) -> Option<bool> {
        self.take(bracket)?;
        let empty = matches!(self.peek()?, b'}' | b']');
        self.at += usize::from(empty);
        Some(!empty)
    }

    /// Goes on behind a member of what `bracket` ends; whether there is another.
    pub fn goes_on(&mut self, bracket: u8) -> Option<bool> {
        let next = self.peek()?;
        self.at += 1;
        match next {
            b',' => Some(true),
            next if next == bracket => Some(false),
            _ => None,
        }
    }

    /// The name of a member, as it is written.
    pub fn key(&mut self) -> Option<&'a [u8]> {
        let (key, _) = self.quoted()?;
        self.take(b':')?;
        Some(key)
    }

    /// The name of a member, without escapes.
    fn name(&mut self) -> Option<Cow<'a, str>> {
        let name = self.string()?;
        self.take(b':')?;
        Some(name)
    }

    /// What stands between quotes, and whether something in it is escaped.
    fn quoted(&mut self) -> Option<(&'a [u8], bool)> {
        self.take(b'"')?;
        let (start, mut escaped) = (self.at, false);
        loop {
            self.at += memchr2(b'"', b'\\', self.bytes.get(self.at..)?)?;
            if self.bytes[self.at] == b'"' {
                self.at += 1;
                return Some((&self.bytes[start..self.at - 1], escaped));
            }
            escaped = true;
            self.at += 2;
        }
    }

    /// A string, without its quotes and escapes.
    pub fn string(&mut self) -> Option<Cow<'a, str>> {
        self.peek()?;
        let start = self.at;
        let (text, escaped) = self.quoted()?;
        if escaped {
            return serde_json::from_slice(&self.bytes[start..self.at]).ok().map(Cow::Owned);
        }
        std::str::from_utf8(text).ok().map(Cow::Borrowed)
    }

    /// Passes over a value.
    pub fn skip(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                b'"' => drop(self.quoted()?),
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    self.at += 1;
                }
                b',' | b':' => self.at += 1,
                _ => {
                    let rest = &self.bytes[self.at..];
                    let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t');
                    self.at += rest.iter().position(ends).unwrap_or(rest.len());
                }
            }
            if depth == 0 {
                return Some(());
            }
        }
    }

    /// Passes over a value, and returns it as it is written.
    pub fn value(&mut self) -> Option<&'a [u8]> {
        self.peek()?;
        let start = self.at;
        self.skip()?;
        Some(&self.bytes[start..self.at])
    }
}

/// The members of the object that `bytes` begin with: names, and values as they are written. `None` if that is no
/// object.
pub fn members(bytes: &[u8]) -> Option<Vec<(Cow<'_, str>, &[u8])>> {
    let mut text = Text::new(bytes);
    let mut found = Vec::new();
    let mut more = text.open(b'{')?;
    while more {
        let name = text.name()?;
        found.push((name, text.value()?));
        more = text.goes_on(b'}')?;
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn members_are_found_as_they_are_written() {
        let found = members(br#" {"a" : [1, {"b": "}"}], "c\u0064": null } x"#).expect("it is an object");
        let all: Vec<(&str, &[u8])> = found.iter().map(|(name, value)| (&**name, *value)).collect();
        assert_eq!(
            all,
            [("a", br#"[1, {"b": "}"}]"#.as_slice()), ("cd", b"null".as_slice())]
        );
        assert_eq!(members(b"{}"), Some(Vec::new()));
        assert_eq!(members(b"[1]"), None);
        assert_eq!(members(br#"{"a":{"b":1}"#), None);
    }

    proptest! {
        #[test]
        fn members_are_what_a_parser_finds(
            object in proptest::collection::btree_map(".{0,4}", any::<Option<(i32, String)>>(), 0..5),
        ) {
            let object = serde_json::to_value(object).expect("it is JSON");
            for text in [object.to_string(), format!("{object:#}")] {
                let found = members(text.as_bytes()).expect("it is an object");
                let read = |value: &[u8]| serde_json::from_slice::<Value>(value).expect("it is JSON");
                let found: serde_json::Map<_, _> =
                    found.iter().map(|(name, value)| (name.clone().into_owned(), read(value))).collect();
                prop_assert_eq!(&Value::Object(found), &object);
            }
        }
    }
}
