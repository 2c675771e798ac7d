//! S3: the revision only grows; one transaction, one revision; nobody ever sees it fall.
//!
//! Three checks. The store's events come in the order of their revisions, and no key twice at one. A store that is
//! opened again is not behind what was seen. And an answer is not older than what its asker could rely on: a consistent
//! read (a list or get without `resourceVersion`) shows at least the revision that was durable when it was asked, which
//! covers everything anybody had been shown or acknowledged before. Reads that allow old states (`resourceVersion=0`)
//! are not judged.

use super::{Invariant, Report};
use crate::model::{Cluster, ObjectId, Seen};

/// See the module.
#[derive(Default)]
pub struct Revisions {
    last: u64,
    keys: Vec<ObjectId>,
}

impl Invariant for Revisions {
    fn id(&self) -> &'static str {
        "S3"
    }

    fn statement(&self) -> &'static str {
        "The revision only grows; one transaction, one revision; nobody ever sees it fall."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
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
