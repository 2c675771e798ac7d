//! S3: the revision only grows; one transaction, one revision; nobody ever sees it fall.
//!
//! Four checks. The store's events come in the order of their revisions, and no key twice at one. A store that is
//! opened again is not behind what was seen. And an answer is not older than what its asker could rely on: a consistent
//! read (a list or get without `resourceVersion`) shows at least the revision that was durable when it was asked, which
//! covers everything anybody had been shown or acknowledged before. Reads that allow old states (`resourceVersion=0`)
//! are not judged. And the history is kept: API servers compact it to where it was five minutes before, so that whoever
//! was away for less can go on from what he has seen. What a fault (`compact`) takes is not held against them.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Invariant, Report};
use crate::model::{Cluster, ObjectId, Seen};

/// So long the history is kept: API servers look at the store every five minutes, and what they then saw may have been
/// seen here a little later.
const KEPT: Duration = Duration::from_secs(270);

/// See the module.
#[derive(Default)]
pub struct Revisions {
    last: u64,
    keys: Vec<ObjectId>,
    /// Where the store was, and when that was seen: the last time before [`KEPT`], and all since then.
    past: VecDeque<(Duration, u64)>,
}

impl Revisions {
    /// Notes where the store is.
    fn note(&mut self, cluster: &Cluster) {
        if self
            .past
            .back()
            .is_none_or(|(_, revision)| *revision < cluster.revision)
        {
            self.past.push_back((cluster.now, cluster.revision));
        }
        while self.past.get(1).is_some_and(|(at, _)| *at + KEPT <= cluster.now) {
            self.past.pop_front();
        }
    }

    /// How far the store may be compacted now.
    fn dispensable(&self, cluster: &Cluster) -> u64 {
        let past = self.past.front().filter(|(at, _)| *at + KEPT <= cluster.now);
        // A new store is at revision 1, and so far it is always compacted.
        past.map_or(1, |(_, revision)| *revision).max(cluster.compacted())
    }
}

impl Invariant for Revisions {
    fn id(&self) -> &'static str {
        "S3"
    }

    fn statement(&self) -> &'static str {
        "The revision only grows; one transaction, one revision; nobody ever sees it fall."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        self.note(cluster);
        if let Seen::Answered(_, answer) = seen
            && let Some(compacted) = answer
                .compacted
                .filter(|compacted| *compacted > self.dispensable(cluster))
        {
            let message = format!(
                "the store is compacted to revision {compacted}, and five minutes ago it was at {}",
                self.dispensable(cluster)
            );
            report.broken(self.id(), message, &["apiserver", "store"]);
        }
        match seen {
            Seen::Change(change) => {
                if change.revision > self.last {
                    self.keys.clear();
                } else if change.revision < self.last || self.keys.contains(&change.id) {
                    report.broken(
                        self.id(),
                        format!(
                            "{} was written at revision {} after {}",
                            change.id, change.revision, self.last
                        ),
                        &["store", "apiserver"],
                    );
                }
                self.last = self.last.max(change.revision);
                self.keys.push(change.id.clone());
            }
            Seen::Reopened { revision, .. } if *revision < self.last => {
                let message = format!("the store came back at revision {revision}, having shown {}", self.last);
                report.broken(self.id(), message, &["apiserver", "disk", "fault"]);
            }
            Seen::Answered(asked, answer) => {
                let Some(path) = &asked.path else { return };
                let read = asked.method == http::Method::GET && path.subresource.is_empty();
                if !read || asked.version_asked.is_some() {
                    return;
                }
                // A list is of a revision; an object's is that of its own last write.
                let floor = if path.name.is_empty() {
                    asked.floor
                } else {
                    let item = cluster.get(&path.id()).filter(|item| item.revision <= asked.floor);
                    let Some(item) = item else { return };
                    item.revision
                };
                match answer.revision {
                    Some(shown) if shown < floor => {
                        let message = format!(
                            "{} was answered {} of {} at revision {shown}, though {floor} was durable when it asked",
                            asked.client, asked.method, path.resource
                        );
                        report.broken(self.id(), message, &[&asked.client, "apiserver"]);
                    }
                    None if answer.status == 404 && !path.name.is_empty() => {
                        let message = format!(
                            "{} was told that {} does not exist, though it had since revision {floor}",
                            asked.client,
                            path.id()
                        );
                        report.broken(self.id(), message, &[&asked.client, "apiserver"]);
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{History, asked, pod};
    use super::*;
    use crate::model::Answered;

    #[test]
    fn a_history_that_is_compacted_before_its_time_breaks_s3() {
        // Written at second 10 and 200: the revisions 2 and 3.
        let history = || {
            let history = History::of(|id| id == "S3").at(10);
            let history = history.put("pods", pod("a", "", "Pending"));
            history.at(200).put("pods", pod("b", "", "Pending"))
        };
        let told = |history: History, compacted: Option<u64>| {
            let answer = Answered {
                status: 200,
                compacted,
                ..Answered::default()
            };
            let get = asked("user", http::Method::GET, "/version");
            history.see(&Seen::Answered(&get, &answer)).broken()
        };
        assert!(told(history().at(310), Some(2)).is_empty());
        assert_eq!(told(history().at(310), Some(3)), ["S3"]);
        assert!(told(history().at(500), Some(3)).is_empty());
        assert_eq!(told(history().at(250), Some(2)), ["S3"]);
        assert!(told(history().at(250), Some(1)).is_empty());
        assert!(told(history().at(250), None).is_empty());
        let by_a_fault = history().at(250).know(|cluster| cluster.compacts(3));
        assert!(told(by_a_fault, Some(3)).is_empty());
    }
}
