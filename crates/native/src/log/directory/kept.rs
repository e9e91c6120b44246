//! Logs that are kept beside those of the rooms: previous generations, and states that were rejected.

use std::collections::BTreeMap;
use std::sync::Arc;

use epicenter_identity::RoomName;
use epicenter_room::Seq;

use crate::log::row_list::RowList;
use crate::log::{LogId, StoredGeneration, StoredRejection};

/// The rows of a log that is kept.
#[derive(Debug)]
pub(in crate::log) struct KeptRows {
    pub(in crate::log) rows: RowList,
    /// Rows behind a damaged one.
    pub(in crate::log) beyond: Vec<u64>,
    /// Why it cannot be read.
    pub(in crate::log) fault: Option<Arc<str>>,
}

impl KeptRows {
    /// Of a log without damage.
    pub(in crate::log) fn sound(rows: RowList) -> Self {
        Self {
            rows,
            beyond: Vec::new(),
            fault: None,
        }
    }

    /// The numbers of all rows.
    pub(in crate::log) fn numbers(&self) -> impl Iterator<Item = u64> {
        let sound = self.rows.all().into_iter().map(|row| row.row);
        sound.chain(self.beyond.iter().copied())
    }
}

/// A log that was replaced.
#[derive(Debug)]
pub(in crate::log) struct Generation {
    pub(in crate::log) room: RoomName,
    pub(in crate::log) upto: u64,
    pub(in crate::log) entries: u64,
    pub(in crate::log) bytes: u64,
    pub(in crate::log) rows: KeptRows,
}

/// All previous generations, by age.
#[derive(Debug, Default)]
pub(in crate::log) struct Generations {
    /// By the time of their replacement, then by log.
    by_age: BTreeMap<(u64, u64), Generation>,
    bytes: u64,
}

impl Generations {
    pub(in crate::log) fn insert(&mut self, replaced_at: u64, log: u64, generation: Generation) {
        self.bytes += generation.bytes;
        self.by_age.insert((replaced_at, log), generation);
    }

    pub(in crate::log) fn remove(&mut self, key: (u64, u64)) -> Option<Generation> {
        let removed = self.by_age.remove(&key)?;
        self.bytes -= removed.bytes;
        Some(removed)
    }

    /// Takes out everything that is kept of a room, as (log, generation).
    pub(in crate::log) fn remove_room(&mut self, room: &RoomName) -> Vec<(u64, Generation)> {
        let of_room = self.by_age.iter().filter(|(_, kept)| kept.room == *room);
        let keys: Vec<_> = of_room.map(|(key, _)| *key).collect();
        keys.into_iter()
            .filter_map(|key| Some((key.1, self.remove(key)?)))
            .collect()
    }

    pub(in crate::log) fn find(&self, log: LogId) -> Option<&Generation> {
        let mut all = self.by_age.iter();
        all.find_map(|((_, number), kept)| (*number == log.0).then_some(kept))
    }

    /// Those of a room, the newest first.
    pub(in crate::log) fn list(&self, room: &RoomName) -> Vec<StoredGeneration> {
        let newest_first = self.by_age.iter().rev();
        newest_first
            .filter(|(_, kept)| kept.room == *room)
            .map(|((replaced_at, log), kept)| StoredGeneration {
                log: LogId(*log),
                upto: Seq(kept.upto),
                entries: kept.entries,
                bytes: kept.bytes,
                replaced_at: *replaced_at,
            })
            .collect()
    }

    /// Up to `limit` that need not be kept any longer, the oldest first.
    pub(in crate::log) fn expired(
        &self,
        replaced_before: u64,
        max_bytes: u64,
        limit: usize,
    ) -> Vec<(u64, u64)> {
        let mut bytes = self.bytes;
        let mut expired = Vec::new();
        for (key, kept) in self.by_age.iter().take(limit) {
            if key.0 >= replaced_before && bytes <= max_bytes {
                break;
            }
            bytes -= kept.bytes;
            expired.push(*key);
        }
        expired
    }

    /// When the oldest was replaced.
    pub(in crate::log) fn oldest(&self) -> Option<u64> {
        self.by_age
            .keys()
            .next()
            .map(|(replaced_at, _)| *replaced_at)
    }

    pub(in crate::log) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(in crate::log) fn len(&self) -> usize {
        self.by_age.len()
    }
}

/// A state that must not replace the log it was made of.
#[derive(Debug)]
pub(in crate::log) struct Rejection {
    /// The log that holds the state.
    pub(in crate::log) log: u64,
    pub(in crate::log) room: RoomName,
    pub(in crate::log) upto: u64,
    pub(in crate::log) bytes: u64,
    pub(in crate::log) rejected_at: u64,
    pub(in crate::log) reason: String,
    pub(in crate::log) rows: KeptRows,
}

/// All of them, by the log that they were made of.
#[derive(Debug, Default)]
pub(in crate::log) struct Rejections {
    by_log: BTreeMap<u64, Rejection>,
}

impl Rejections {
    pub(in crate::log) fn insert(&mut self, of: u64, rejection: Rejection) {
        self.by_log.insert(of, rejection);
    }

    /// The one of a log, taken out.
    pub(in crate::log) fn remove(&mut self, of: u64) -> Option<Rejection> {
        self.by_log.remove(&of)
    }

    /// Those of a room, taken out.
    pub(in crate::log) fn remove_room(&mut self, room: &RoomName) -> Vec<Rejection> {
        let of_room = self.by_log.iter().filter(|(_, kept)| kept.room == *room);
        let logs: Vec<_> = of_room.map(|(of, _)| *of).collect();
        logs.into_iter().filter_map(|of| self.remove(of)).collect()
    }

    /// The log that holds the state which was made of this one.
    pub(in crate::log) fn log_of(&self, of: u64) -> Option<u64> {
        self.by_log.get(&of).map(|kept| kept.log)
    }

    pub(in crate::log) fn has(&self, of: u64) -> bool {
        self.by_log.contains_key(&of)
    }

    pub(in crate::log) fn find(&self, log: LogId) -> Option<&Rejection> {
        self.by_log.values().find(|kept| kept.log == log.0)
    }

    pub(in crate::log) fn list(&self, room: &RoomName) -> Vec<StoredRejection> {
        let of_room = self.by_log.iter().filter(|(_, kept)| kept.room == *room);
        of_room
            .map(|(of, kept)| StoredRejection {
                log: LogId(kept.log),
                of: LogId(*of),
                upto: Seq(kept.upto),
                bytes: kept.bytes,
                rejected_at: kept.rejected_at,
                reason: kept.reason.clone(),
            })
            .collect()
    }

    pub(in crate::log) fn len(&self) -> usize {
        self.by_log.len()
    }
}
