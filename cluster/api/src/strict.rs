//! Strict decoding: duplicate fields, unknown fields and wrong types.
