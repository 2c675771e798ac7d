//! S8, of lists that are read page by page: all pages of a list are of one revision, and together they show everything
//! that there is at it, and nothing twice.
//!
//! Judged at answers, also those that are lost on their way. What a token continues is told by the token: whoever asks
//! with it, at whatever server, gets the page after the page that gave it, of the same revision; that this is compacted
//! has to be said (410), and only when it is. The last page is the one without a token: then nothing may be lacking. A
//! request that names no token begins a list. What a page shows is judged in `acknowledged`, as that of every list is.
//!
//! Not judged: how many objects a page has and how many are said to remain (nobody may rely on either); a token that is
//! asked with for something else than it was given for; tokens that came with a 410, which continue no list but begin
//! one at another revision (nobody here asks with one: users begin the list anew); whether everything was shown of
//! selections that the model does not know, and of revisions that are no longer known.

use std::collections::{BTreeSet, VecDeque};

use super::acknowledged::state_at;
use super::{Invariant, Report};
use crate::model::{Answered, Asked, Cluster, Entry, Seen, Selection};

/// So many tokens are remembered. Somebody who goes on from an older one is not judged.
const REMEMBERED: usize = 256;

/// See the module.
#[derive(Default)]
pub struct Pages {
    /// What was shown up to a token, the newest last.
    tokens: VecDeque<(Token, Shown)>,
}

/// A token, and what it is of: another selection's list goes on elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Token {
    of: Selection,
    token: String,
}

impl Token {
    fn new(selection: &Selection, token: &str) -> Self {
        Token {
            of: selection.clone(),
            token: token.to_owned(),
        }
    }
}

/// What the pages of a list have shown so far.
#[derive(Debug, Clone)]
struct Shown {
    revision: u64,
    pages: usize,
    entries: BTreeSet<Entry>,
}

impl Invariant for Pages {
    fn id(&self) -> &'static str {
        "S8"
    }

    fn statement(&self) -> &'static str {
        "The pages of a list are of one revision, and show together everything that there is at it, once."
    }

    fn observe(&mut self, seen: &Seen<'_>, cluster: &Cluster, report: &mut Report) {
        let Seen::Answered(asked, answer) = seen else { return };
        let (Some(selection), true) = (&asked.selection, asked.paged) else {
            return;
        };
        if let Some(why) = self.refused(asked, answer, selection) {
            report.broken(self.id(), why, &[&asked.client, "apiserver", "store"]);
        }
        let (Some(revision), Some(items)) = (answer.revision, &answer.items) else {
            return;
        };
        let before = match &asked.continues {
            Some(token) => match self.known(&Token::new(selection, token)) {
                Some(shown) => shown.clone(),
                None => return,
            },
            None => Shown {
                revision,
                pages: 0,
                entries: BTreeSet::new(),
            },
        };
        match judge(&before, revision, items, selection, answer, cluster) {
            Ok(shown) => {
                if let Some(token) = &answer.next {
                    self.remember(Token::new(selection, token), shown);
                }
            }
            Err(why) => report.broken(
                self.id(),
                message(asked, selection, &before, &why),
                &[&asked.client, "apiserver"],
            ),
        }
    }
}

impl Pages {
    /// What is wrong with a refusal to go on because the list is too old.
    fn refused(&self, asked: &Asked, answer: &Answered, selection: &Selection) -> Option<String> {
        if answer.status != 410 || answer.by_fault {
            return None;
        }
        let shown = self.known(&Token::new(selection, asked.continues.as_deref()?))?;
        let compacted = answer.compacted.filter(|compacted| shown.revision >= *compacted)?;
        Some(format!(
            "{} is told that its list of {} of revision {} is too old, though the history goes back to {compacted}",
            asked.client, selection.resource, shown.revision
        ))
    }

    fn known(&self, token: &Token) -> Option<&Shown> {
        let found = self.tokens.iter().rev().find(|(own, _)| own == token);
        found.map(|(_, shown)| shown)
    }

    fn remember(&mut self, token: Token, shown: Shown) {
        // One that is asked for twice is given twice.
        self.tokens.retain(|(own, _)| *own != token);
        if self.tokens.len() == REMEMBERED {
            self.tokens.pop_front();
        }
        self.tokens.push_back((token, shown));
    }
}

/// What was shown with one page more; an error if that page is wrong after those before.
fn judge(
    before: &Shown,
    revision: u64,
    items: &[Entry],
    selection: &Selection,
    answer: &Answered,
    cluster: &Cluster,
) -> Result<Shown, String> {
    if revision != before.revision {
        return Err(format!(
            "is of revision {revision}, and those before it of {}",
            before.revision
        ));
    }
    let mut shown = before.clone();
    shown.pages += 1;
    if let Some(entry) = items.iter().find(|entry| before.entries.contains(entry)) {
        return Err(format!("shows {}/{} once more", entry.namespace, entry.name));
    }
    shown.entries.extend(items.iter().cloned());
    if answer.next.is_none()
        && selection.is_understood()
        && let Some(there) = state_at(cluster, selection, revision)
        && let Some(lacking) = there.difference(&shown.entries).next()
    {
        return Err(format!(
            "is the last at revision {revision}, and of {} objects none has shown {}/{} of revision {}",
            there.len(),
            lacking.namespace,
            lacking.name,
            lacking.revision
        ));
    }
    Ok(shown)
}

fn message(asked: &Asked, selection: &Selection, before: &Shown, why: &str) -> String {
    format!(
        "{} reads {} page by page: page {} {why}",
        asked.client,
        selection.resource,
        before.pages + 1
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{History, asked, pod};
    use super::*;

    /// Pods `a`, `b` and `c` of the revisions 2 to 4; then `b` goes at 5, and `d` comes at 6.
    fn history() -> History {
        let history = History::of(|id| id == "S8");
        let made = ["a", "b", "c"].into_iter();
        let history = made.fold(history, |history, name| history.put("pods", pod(name, "", "Pending")));
        history
            .delete("pods", &pod("b", "", "Pending"))
            .put("pods", pod("d", "", "Pending"))
    }

    fn selection(labels: Option<&str>) -> Selection {
        Selection {
            resource: "pods".into(),
            namespace: String::new(),
            labels: labels.map(|labels| orrery_api::labels::Selector::parse(labels).expect("it is a selector")),
            fields: None,
        }
    }

    /// A page that somebody asks for, perhaps by a token.
    fn page(continues: Option<&str>) -> Asked {
        Asked {
            selection: Some(selection(None)),
            paged: true,
            continues: continues.map(str::to_owned),
            ..asked("user", http::Method::GET, "/api/v1/pods")
        }
    }

    fn answer(revision: u64, items: &[(&str, u64)], next: Option<&str>) -> Answered {
        let entry = |(name, revision): &(&str, u64)| Entry {
            namespace: "default".to_owned(),
            name: (*name).to_owned(),
            revision: *revision,
        };
        Answered {
            status: 200,
            revision: Some(revision),
            items: Some(items.iter().map(entry).collect()),
            next: next.map(str::to_owned),
            ..Answered::default()
        }
    }

    /// Two pages of one list: the first shows `a` and `b` at revision 4.
    fn second(revision: u64, items: &[(&str, u64)], next: Option<&str>) -> History {
        let first = answer(4, &[("a", 2), ("b", 3)], Some("t"));
        let history = history().see(&Seen::Answered(&page(None), &first));
        history.see(&Seen::Answered(&page(Some("t")), &answer(revision, items, next)))
    }

    #[test]
    fn pages_of_one_revision_that_show_all_of_it_are_right() {
        assert!(second(4, &[("c", 4)], None).broken().is_empty());
        // Who got no answer asks again.
        let again = second(4, &[("c", 4)], None);
        let again = again.see(&Seen::Answered(&page(Some("t")), &answer(4, &[("c", 4)], None)));
        assert!(again.broken().is_empty());
        // A page may be empty, and the last one, too.
        let empty = second(4, &[], Some("u"));
        let empty = empty.see(&Seen::Answered(&page(Some("u")), &answer(4, &[("c", 4)], Some("v"))));
        let empty = empty.see(&Seen::Answered(&page(Some("v")), &answer(4, &[], None)));
        assert!(empty.broken().is_empty());
    }

    #[test]
    fn a_page_of_another_revision_than_the_one_before_breaks_s8() {
        assert_eq!(second(6, &[("c", 4), ("d", 6)], None).broken(), ["S8"]);
        assert_eq!(second(5, &[("c", 4)], Some("u")).broken(), ["S8"]);
        // That it is no longer known has to be said, and then the list begins anew.
        let expired = Answered {
            status: 410,
            body: json!({"kind": "Status", "code": 410}).to_string().into(),
            ..Answered::default()
        };
        let first = answer(4, &[("a", 2), ("b", 3)], Some("t"));
        let anew = history()
            .see(&Seen::Answered(&page(None), &first))
            .see(&Seen::Answered(&page(Some("t")), &expired))
            .see(&Seen::Answered(
                &page(None),
                &answer(6, &[("a", 2), ("c", 4)], Some("u")),
            ))
            .see(&Seen::Answered(&page(Some("u")), &answer(6, &[("d", 6)], None)));
        assert!(anew.broken().is_empty());
    }

    #[test]
    fn a_list_that_is_refused_though_its_history_is_there_breaks_s8() {
        let refused = |compacted: Option<u64>, by_fault: bool| {
            let first = answer(4, &[("a", 2), ("b", 3)], Some("t"));
            let refusal = Answered {
                status: 410,
                by_fault,
                compacted,
                ..Answered::default()
            };
            let history = history().see(&Seen::Answered(&page(None), &first));
            history.see(&Seen::Answered(&page(Some("t")), &refusal)).broken()
        };
        assert_eq!(refused(Some(4), false), ["S8"]);
        assert!(refused(Some(5), false).is_empty());
        assert!(refused(None, false).is_empty());
        assert!(refused(Some(4), true).is_empty());
    }

    #[test]
    fn what_is_lacking_between_two_pages_or_shown_on_both_breaks_s8() {
        assert_eq!(second(4, &[], None).broken(), ["S8"]);
        assert_eq!(second(4, &[("b", 3), ("c", 4)], None).broken(), ["S8"]);
        let third = second(4, &[("c", 4)], Some("u"));
        let third = third.see(&Seen::Answered(&page(Some("u")), &answer(4, &[("a", 2)], None)));
        assert_eq!(third.broken(), ["S8"]);
        // The only page is the last one.
        let only = |items| history().see(&Seen::Answered(&page(None), &answer(4, items, None)));
        assert_eq!(only(&[("a", 2), ("b", 3)]).broken(), ["S8"]);
        assert!(only(&[("a", 2), ("b", 3), ("c", 4)]).broken().is_empty());
    }

    #[test]
    fn a_token_that_was_given_for_something_else_is_not_judged() {
        let unknown = history().see(&Seen::Answered(&page(Some("x")), &answer(4, &[("c", 4)], None)));
        assert!(unknown.broken().is_empty());
        let labelled = Asked {
            selection: Some(selection(Some("app=web"))),
            ..page(Some("t"))
        };
        let first = answer(4, &[("a", 2), ("b", 3)], Some("t"));
        let other = history()
            .see(&Seen::Answered(&page(None), &first))
            .see(&Seen::Answered(&labelled, &answer(6, &[], None)));
        assert!(other.broken().is_empty());
    }
}
