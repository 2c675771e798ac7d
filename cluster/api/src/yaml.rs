//! YAML bodies into JSON values.
