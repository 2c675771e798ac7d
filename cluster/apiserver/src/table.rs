//! Tables.
use crate::resource::{AnyObject, AnyResource};
use jiff::Timestamp;
use serde_json::Value;
/// x
pub enum Include { /// a
 None, /// b
 Metadata, /// c
 Object }
/// x
pub fn table<'a>(_r: &dyn AnyResource, _o: impl Iterator<Item = &'a dyn AnyObject>, _m: Value, _i: Include, _v: &str, _h: bool, _n: Timestamp) -> Value { Value::Null }
/// x
pub fn of_one(_r: &dyn AnyResource, _o: &dyn AnyObject, _v: &str, _h: bool, _n: Timestamp) -> Value { Value::Null }
/// x
pub fn partial_metadata(_o: &dyn AnyObject, _v: &str) -> Value { Value::Null }
/// x
pub fn partial_metadata_list<'a>(_o: impl Iterator<Item = &'a dyn AnyObject>, _m: Value, _v: &str) -> Value { Value::Null }
