//! What an operator or an owner may want to know of a room, put where they look. Never document bytes.

use epicenter_room::{Author, Note};
use epicenter_server::ports::Refusal;

use super::slot::Slot;

pub(super) fn note_down(slot: &Slot, note: Note) {
    let name = slot.name();
    let shared = slot.shared();
    let refuse = |by: Option<Author>, reason: &str, bytes: usize| {
        let refusal = Refusal {
            at: shared.host.now().0,
            reason: reason.to_owned(),
            bytes: bytes as u64,
        };
        shared.refusals.refuse(name, by, refusal);
    };
    let stats = &shared.stats;
    match note {
        Note::FrameDropped {
            connection,
            what,
            is_first,
        } => {
            stats.frames_dropped.add(what);
            if !is_first {
                return;
            }
            tracing::debug!(room.name = %name, connection = connection.0, what, "a frame was dropped");
        }
        Note::UpdateRefused {
            by,
            reason,
            limit,
            bytes,
        } => {
            stats.updates_refused.add(limit);
            tracing::warn!(room.name = %name, reason, update_bytes = bytes, "an update was refused and its connection closed");
            refuse(by, &reason, bytes);
        }
        Note::PendingDropped {
            by,
            bytes,
            is_first,
        } => {
            stats.pending_dropped.add(1);
            if is_first {
                tracing::warn!(room.name = %name, update_bytes = bytes, "pending structs passed the room's limit and were dropped");
            }
            refuse(by, "pending-limit", bytes);
        }
        Note::UpdatesAccepted { by } => shared.refusals.settle(name, by.as_ref()),
        Note::LogMismatch { known, read } => {
            stats.log_mismatches.add(1);
            tracing::error!(room.name = %name, known = known.0, read = read.0, "the log of a room does not end where the room had left it; the room is closed and read again");
        }
        Note::ProtocolError { connection } => {
            stats.protocol_errors.add(1);
            tracing::debug!(room.name = %name, connection = connection.0, "a connection was closed for a protocol error");
        }
    }
}
