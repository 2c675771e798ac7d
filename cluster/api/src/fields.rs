//! Field selectors: their grammar and what they match.
