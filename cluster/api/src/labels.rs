//! Label selectors: their grammar, their text and what they match.
