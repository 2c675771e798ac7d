//! The object model: kinds, metadata, selectors, quantities, patches, validation, and the messages components exchange.
