//! Which entry of a map key counts.
//!
//! The entries of a key form a tree: each was set over the one that its author saw. A Yjs document
//! keeps them as a list and shows the last of it. Without right origins that one is found by walking
//! from the root and always taking the child with the highest client id.

use std::cmp::Reverse;

use super::slots::{Element, Member, client_of};
use crate::Clock;
use crate::delete_set::DeleteRanges;
use crate::update::Update;

/// Adds the clocks of all entries that another one of their key hides; `members` are sorted by place,
/// then by origin. Keys on which nothing is certain hide nothing.
pub(super) fn add_hidden(update: &Update<'_>, members: &[Member], deletes: &mut DeleteRanges) {
    for of_key in members.chunk_by(|left, right| left.slot == right.slot) {
        let Some((block, clock)) = winner(of_key) else {
            continue;
        };
        for member in of_key {
            let (own, first) = member.first;
            let end = first.saturating_add(member.len);
            let Some(client) = client_of(update, own) else {
                continue;
            };
            if own == block && (first..end).contains(&clock) {
                deletes.add(client, first..clock);
                deletes.add(client, clock.saturating_add(1)..end);
            } else {
                deletes.add(client, first..end);
            }
        }
    }
}

/// The last element of a key; none when the same client stands twice in one place, which no client
/// writes.
fn winner(members: &[Member]) -> Option<Element> {
    let mut at = *highest(children(members, None))?;
    let mut clock = at.first.1;
    loop {
        let last = at.first.1.saturating_add(at.len).saturating_sub(1);
        match next_branch(members, &at, clock, last)? {
            Branch::To(child) => {
                at = child;
                clock = at.first.1;
            }
            Branch::None => return Some((at.first.0, last)),
        }
    }
}

enum Branch {
    /// The walk goes on in this struct.
    To(Member),
    /// It goes to the end of the struct that it is in.
    None,
}

/// Where the walk through the elements `clock..=last` of one struct leaves it; nothing if that
/// cannot be told.
fn next_branch(members: &[Member], at: &Member, clock: Clock, last: Clock) -> Option<Branch> {
    let own = at.first.0;
    let from = members.partition_point(|member| member.origin < Some((own, clock)));
    let inside = members.get(from..).unwrap_or_default();
    for siblings in inside.chunk_by(|left, right| left.origin == right.origin) {
        let Some((block, origin)) = siblings.first().and_then(|member| member.origin) else {
            break;
        };
        if block != own || origin > last {
            break;
        }
        let best = highest(siblings)?;
        // A lower place among the blocks is a higher client id.
        if origin == last || best.first.0 < own {
            return Some(Branch::To(*best));
        }
        if best.first.0 == own {
            return None;
        }
    }
    Some(Branch::None)
}

fn children(members: &[Member], origin: Option<Element>) -> &[Member] {
    let from = members.partition_point(|member| member.origin < origin);
    let to = members.partition_point(|member| member.origin <= origin);
    members.get(from..to).unwrap_or_default()
}

/// The one of the highest client; none when there is nobody, or two of that client.
fn highest(siblings: &[Member]) -> Option<&Member> {
    let best = siblings
        .iter()
        .max_by_key(|member| Reverse(member.first.0))?;
    let of_best = siblings
        .iter()
        .filter(|member| member.first.0 == best.first.0);
    (of_best.count() == 1).then_some(best)
}
