//! The tag that tells two snapshots of a room apart.

use sha2::{Digest, Sha256};

use crate::delete_set::DeleteSet;
use crate::state_vector::StateVector;
use crate::update::Update;

/// Names the form of the hashed text, so that another form gives other tags.
const DOMAIN: &[u8] = b"epicenter snapshot tag 1\0";

/// A tag over a state vector, the normalised delete set and the ranges that are pending.
///
/// Equal for equal meaning: the order of clients and the form of the pending update do not matter.
pub fn snapshot_tag(
    state_vector: &StateVector,
    deletes: &DeleteSet,
    pending: Option<&Update<'_>>,
) -> [u8; 16] {
    let mut hash = Sha256::new();
    hash.update(DOMAIN);
    hash_part(&mut hash, &state_vector.encode());
    let mut part = Vec::new();
    deletes.encode_v2(&mut part);
    hash_part(&mut hash, &part);
    if let Some(pending) = pending {
        let mut ranges = DeleteSet::default();
        for (client, of_client) in pending.summary().structs {
            for range in of_client {
                ranges.insert(client, range);
            }
        }
        for set in [ranges, pending.delete_set()] {
            part.clear();
            set.encode_v2(&mut part);
            hash_part(&mut hash, &part);
        }
    }
    let digest = hash.finalize();
    let mut tag = [0; 16];
    for (to, from) in tag.iter_mut().zip(digest.iter()) {
        *to = *from;
    }
    tag
}

fn hash_part(hash: &mut Sha256, part: &[u8]) {
    hash.update((part.len() as u64).to_be_bytes());
    hash.update(part);
}
