//! What the rules must say, for services of every kind.

mod behaviour;
mod objects;
mod properties;
mod text;
