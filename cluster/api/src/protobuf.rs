//! Decoding protobuf bodies into the JSON that the client could have sent instead.
