//! End to end, in both worlds.
