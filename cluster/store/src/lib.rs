//! A revisioned key-value store: transactions, watch, compaction, leases, durability.
