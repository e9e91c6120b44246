//! Random histories of three clients, delivered in any order, in any portions, more than once and across restarts:
//! in the end the room holds all of it, and so does everybody who only listened.

use bytes::Bytes;
use epicenter_update::Update;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::host::{ADA, Host, LIMITLESS, Listener, merge_all};
use crate::yjs;

/// What a client does next: `(client, kind, which)`.
type Step = (u8, u8, prop::sample::Index);

/// A history in causal order.
fn history(steps: &[Step]) -> Vec<Bytes> {
    let mut clocks = [0_u8; 4];
    let mut items: Vec<(u8, u8)> = Vec::new();
    let mut updates = Vec::new();
    for (client, kind, which) in steps {
        let clock = clocks[usize::from(*client)];
        let others: Vec<(u8, u8)> = items
            .iter()
            .copied()
            .filter(|item| item.0 != *client)
            .collect();
        match kind {
            0 if !others.is_empty() => {
                updates.push(yjs::after(*client, clock, *which.get(&others)));
            }
            1 if !items.is_empty() => {
                let (owner, clock) = *which.get(&items);
                updates.push(yjs::delete(owner, clock, 1));
                continue;
            }
            _ => updates.push(yjs::set(*client, clock, 1)),
        }
        items.push((*client, clock));
        clocks[usize::from(*client)] += 1;
    }
    updates
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    vec((1..4_u8, 0..4_u8, any::<prop::sample::Index>()), 1..24)
}

/// A delivery: which part of the history, from which socket, and whether the room is dropped before it.
type Delivery = (prop::sample::Index, usize, usize, bool);

fn deliveries() -> impl Strategy<Value = Vec<Delivery>> {
    vec(
        (
            any::<prop::sample::Index>(),
            1..4_usize,
            0..2_usize,
            prop::bool::weighted(0.1),
        ),
        0..40,
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn everything_arrives(steps in steps(), deliveries in deliveries(), order in any::<prop::sample::Index>()) {
        let history = history(&steps);
        let expected = merge_all(&history);
        let expected = Update::parse(&expected, &LIMITLESS).unwrap();
        let mut host = Host::new();
        let mut sockets = [host.join(1, ADA, "a"), host.join(2, ADA, "b")];
        let mut listener = Listener::new(host.join(3, ADA, "c"));
        let mut last_id = 3;
        // Any portions first, then the rest one by one, from any place on.
        let from = order.index(history.len());
        let rest = (0..history.len()).map(|at| (vec![history[(from + at) % history.len()].clone()], 0, false));
        let portions = deliveries.iter().map(|(at, length, socket, restart)| {
            let portion = history.iter().cycle().skip(at.index(history.len())).take(*length);
            (portion.cloned().collect::<Vec<Bytes>>(), *socket, *restart)
        });
        for (portion, socket, restart) in portions.chain(rest) {
            if restart {
                host.restart();
                sockets = [host.join(last_id + 1, ADA, "a"), host.join(last_id + 2, ADA, "b")];
                listener.connection = host.join(last_id + 3, ADA, "c");
                last_id += 3;
            }
            host.push(sockets[socket], &merge_all(&portion));
            listener.listen(&mut host);
        }
        let loaded = host.read_log();
        prop_assert_eq!(&loaded.pending, &None);
        prop_assert_eq!(loaded.state_vector, expected.state_vector());
        prop_assert_eq!(loaded.deletes, expected.deletes());
        let heard = Update::parse(&listener.document, &LIMITLESS).unwrap();
        prop_assert_eq!(heard.state_vector(), expected.state_vector());
        prop_assert_eq!(heard.deletes(), expected.deletes());
    }
}
