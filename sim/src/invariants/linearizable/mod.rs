//! S1: the API is strictly serializable: every answer is right in one order of all reads and writes, and that order
//! respects time.
//!
//! The order is the store's own history, so that nothing has to be searched for: an answer is right if it is right at
//! some moment between its request and itself. A read must show a state that was there then, to the byte; one that is
//! content with an old state (`resourceVersion=0`) may show an earlier one, but none that never was, and none of the
//! future. An acknowledged write must have taken effect then, once (`writes`), or have found nothing to change; a patch
//! must have done what it names, and have left alone what it does not (`patches`), whichever of those under way it was;
//! a binding must have bound the pod of the uid that it names. A refusal (409, 404, 403 of a namespace that goes) must
//! have been due then, and what was refused must not have taken effect. A request whose server died, or that was
//! answered 5xx, may or may not have taken effect.
//!
//! Errors that a fault puts in the place of an answer need not have been due (409, 429), and are judged by their effect
//! alone.
//!
//! Lawful and let pass: patches and unconditional updates of which it cannot be told whether they made a change or
//! found it made; refusals for what an object says (400, 422) or who sends it (401, 403, 429), which are only held to
//! have had no effect; answers that waited longer than the history is kept. Lists are judged by S8.

mod answers;
mod patches;
mod window;
mod writes;

#[cfg(test)]
mod tests;

use super::{Invariant, Report};
use crate::model::{Cluster, Seen};
use answers::Effect;
use writes::Writes;

/// See the module.
#[derive(Default)]
pub struct Linearizable {
    writes: Writes,
}

impl Invariant for Linearizable {
    fn id(&self) -> &'static str {
        "S1"
    }

    fn statement(&self) -> &'static str {
        "Reads and writes of the API are strictly serializable; a request that timed out may or may not have happened."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        let wrong = match seen {
            Seen::Change(change) => self.writes.changed(change, cluster.now),
            Seen::Begun { execution, asked } => {
                self.writes.begin(*execution, asked, cluster.revision);
                None
            }
            Seen::Lost { execution } => {
                self.writes.lose(*execution, cluster.now);
                None
            }
            Seen::Answered(asked, answer) => {
                let since = self.writes.since(answer.execution).unwrap_or(asked.floor);
                match answers::judge(asked, answer, since, cluster, &self.writes) {
                    Ok(effect) => self.writes.end(answer.execution, effect, cluster.now),
                    Err(wrong) => {
                        self.writes.end(answer.execution, Effect::Unknown, cluster.now);
                        let subject = match &asked.path {
                            Some(path) if path.subresource.is_empty() => path.id().to_string(),
                            Some(path) => format!("{}/{}", path.id(), path.subresource),
                            None => String::new(),
                        };
                        Some(format!(
                            "{} was answered {} to {} {subject}, but {wrong}",
                            asked.client, answer.status, asked.method
                        ))
                    }
                }
            }
            _ => None,
        };
        if let Some(wrong) = wrong {
            let client = match seen {
                Seen::Answered(asked, _) => asked.client.as_str(),
                _ => "store",
            };
            report.broken(self.id(), wrong, &[client, "apiserver", "store"]);
        }
    }
}
