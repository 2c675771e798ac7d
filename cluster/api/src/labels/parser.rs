//! From tokens to requirements.
//!
//! ```text
//! selector    = [ requirement { "," requirement } ]
//! requirement = [ "!" ] KEY | KEY ("=" | "==" | "!=" | ">" | "<") VALUE | KEY ("in" | "notin") "(" VALUE { "," VALUE } ")"
//! ```

use std::collections::BTreeSet;

use super::lexer::{Token, scan};
use super::requirement::invalid;
use super::{Operator, ParseError, Requirement};
use crate::names;

pub(super) fn parse(text: &str) -> Result<Vec<Requirement>, ParseError> {
    Parser {
        tokens: scan(text),
        position: 0,
    }
    .selector()
    .map_err(ParseError)
}

struct Parser<'a> {
    tokens: Vec<(Token, &'a str)>,
    position: usize,
}

impl<'a> Parser<'a> {
    fn selector(&mut self) -> Result<Vec<Requirement>, String> {
        let mut requirements = Vec::new();
        loop {
            match self.peek() {
                (Token::Identifier | Token::Not, _) => {
                    let requirement = self
                        .requirement()
                        .map_err(|error| format!("unable to parse requirement: {error}"))?;
                    requirements.push(requirement);
                }
                (Token::End, _) => return Ok(requirements),
                (_, text) => return Err(format!("found '{text}', expected: !, identifier, or 'end of string'")),
            }
            match self.next() {
                (Token::End, _) => return Ok(requirements),
                (Token::Comma, _) => match self.peek() {
                    (Token::Identifier | Token::Not, _) => {}
                    (_, text) => return Err(format!("found '{text}', expected: identifier after ','")),
                },
                (_, text) => return Err(format!("found '{text}', expected: ',' or 'end of string'")),
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let mut first = self.next();
        let absent = first.0 == Token::Not;
        if absent {
            first = self.next();
        }
        let (Token::Identifier, key) = first else {
            return Err(format!("found '{}', expected: identifier", first.1));
        };
        let problems = names::qualified_name(key);
        if !problems.is_empty() {
            return Err(invalid("<nil>", key, &problems));
        }
        let make = |operator, values: BTreeSet<String>| {
            Requirement::new(key, operator, values.into_iter().collect()).map_err(|error| error.0)
        };
        if absent {
            return make(Operator::DoesNotExist, BTreeSet::new());
        }
        if matches!(self.peek().0, Token::End | Token::Comma) {
            return make(Operator::Exists, BTreeSet::new());
        }
        let operator = self.operator()?;
        let values = match operator {
            Operator::In | Operator::NotIn => self.set()?,
            _ => BTreeSet::from([self.exact_value()?]),
        };
        make(operator, values)
    }

    fn operator(&mut self) -> Result<Operator, String> {
        let (token, text) = self.tokens[self.position];
        self.advance();
        Ok(match token {
            Token::In => Operator::In,
            Token::NotIn => Operator::NotIn,
            Token::Equals => Operator::Equals,
            Token::DoubleEquals => Operator::DoubleEquals,
            Token::NotEquals => Operator::NotEquals,
            Token::Greater => Operator::GreaterThan,
            Token::Less => Operator::LessThan,
            _ => return Err(format!("found '{text}', expected: in, notin, =, ==, !=, gt, lt")),
        })
    }

    fn exact_value(&mut self) -> Result<String, String> {
        if matches!(self.peek().0, Token::End | Token::Comma) {
            return Ok(String::new());
        }
        match self.next() {
            (Token::Identifier, text) => Ok(text.to_owned()),
            (_, text) => Err(format!("found '{text}', expected: identifier")),
        }
    }

    fn set(&mut self) -> Result<BTreeSet<String>, String> {
        match self.next() {
            (Token::Open, _) => {}
            (_, text) => return Err(format!("found '{text}' expected: '('")),
        }
        match self.peek() {
            (Token::Identifier | Token::Comma, _) => {}
            (Token::Close, _) => {
                self.advance();
                return Ok(BTreeSet::from([String::new()]));
            }
            (_, text) => return Err(format!("found '{text}', expected: ',', ')' or identifier")),
        }
        // A value may be missing before, between and after commas: it is the empty one.
        let mut values = BTreeSet::new();
        let mut after_comma = true;
        loop {
            match self.next() {
                (Token::Identifier, text) => {
                    values.insert(text.to_owned());
                    after_comma = false;
                    match self.peek() {
                        (Token::Comma | Token::Close, _) => {}
                        (_, text) => return Err(format!("found '{text}', expected: ',' or ')'")),
                    }
                }
                (Token::Comma, _) => {
                    if after_comma {
                        values.insert(String::new());
                    }
                    after_comma = true;
                }
                (Token::Close, _) => {
                    if after_comma {
                        values.insert(String::new());
                    }
                    return Ok(values);
                }
                (_, text) => return Err(format!("found '{text}', expected: ',', or identifier")),
            }
        }
    }

    /// The next token where `in` and `notin` are ordinary words.
    fn peek(&self) -> (Token, &'a str) {
        match self.tokens[self.position] {
            (Token::In | Token::NotIn, text) => (Token::Identifier, text),
            other => other,
        }
    }

    fn next(&mut self) -> (Token, &'a str) {
        let token = self.peek();
        self.advance();
        token
    }

    /// Never past the end: its token repeats.
    fn advance(&mut self) {
        self.position = (self.position + 1).min(self.tokens.len() - 1);
    }
}
