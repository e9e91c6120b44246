//! What a peer lacks.

use crate::encoder::Encoder;
use crate::state_vector::StateVector;
use crate::update::Update;

/// The structs of `update` that a peer at `state_vector` lacks, always with the whole delete set.
///
/// As in Yjs, a client's structs start with the first one that reaches beyond the peer's clock, cut
/// there; gaps behind it are kept.
pub fn diff(update: &Update<'_>, state_vector: &StateVector) -> Vec<u8> {
    let mut encoder = Encoder::default();
    let mut walk = update.walk();
    for block in update.blocks() {
        let known = state_vector.clock(block.client);
        if block.end <= known {
            continue;
        }
        walk.enter(block);
        for mut next in walk.by_ref().filter(|next| next.end() > known) {
            if next.clock < known {
                next.skip_elements(known.saturating_sub(next.clock));
                next.mend_front();
            }
            encoder.push(&next);
        }
    }
    encoder.finish(&update.delete_set())
}
