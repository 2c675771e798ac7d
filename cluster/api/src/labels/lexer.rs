//! A selector's text as tokens.

/// What a token is. Words `in` and `notin` are operators or values: the parser decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    End,
    Error,
    Identifier,
    In,
    NotIn,
    Comma,
    Not,
    Equals,
    DoubleEquals,
    NotEquals,
    Greater,
    Less,
    Open,
    Close,
}

const SYMBOLS: [(&str, Token); 9] = [
    ("==", Token::DoubleEquals),
    ("!=", Token::NotEquals),
    ("=", Token::Equals),
    ("!", Token::Not),
    (",", Token::Comma),
    (">", Token::Greater),
    ("<", Token::Less),
    ("(", Token::Open),
    (")", Token::Close),
];

/// The tokens with their text; the last one is always [`Token::End`].
pub(super) fn scan(text: &str) -> Vec<(Token, &str)> {
    let mut tokens = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(is_space);
        if rest.is_empty() || rest.starts_with('\0') {
            tokens.push((Token::End, ""));
            return tokens;
        }
        let (token, length) = match SYMBOLS.iter().find(|(symbol, _)| rest.starts_with(symbol)) {
            Some((symbol, token)) => (*token, symbol.len()),
            None => {
                let length = rest.find(|c| is_space(c) || is_symbol(c)).unwrap_or(rest.len());
                match &rest[..length] {
                    "" => (Token::Error, rest.chars().next().map_or(1, char::len_utf8)),
                    "in" => (Token::In, length),
                    "notin" => (Token::NotIn, length),
                    _ => (Token::Identifier, length),
                }
            }
        };
        tokens.push((token, &rest[..length]));
        rest = &rest[length..];
    }
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn is_symbol(c: char) -> bool {
    matches!(c, '=' | '!' | '(' | ')' | ',' | '>' | '<')
}
