//! State vectors: what a peer has, as one number for each client.

use std::collections::BTreeMap;

use crate::cursor::{checked_client, checked_clock};
use crate::error::{Limits, UpdateError};
use crate::lib0::{Reader, write_var_uint};
use crate::update::Update;
use crate::{ClientId, Clock};

/// What a peer has: for each client the number of elements known, from clock 0 without gaps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateVector(BTreeMap<ClientId, Clock>);

impl StateVector {
    /// Reads the form that Yjs writes. No bytes at all are malformed: an empty one is the byte `00`.
    pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Self, UpdateError> {
        let mut reader = Reader::new(bytes);
        let count = reader.read_var_uint()?;
        if count > u64::from(limits.max_state_vector_entries) {
            return Err(UpdateError::refused(0, "max_state_vector_entries"));
        }
        let mut clocks = BTreeMap::new();
        for _ in 0..count {
            let at = reader.position();
            let client = reader.read_var_uint()?;
            let clock_at = reader.position();
            let clock = reader.read_var_uint()?;
            let client = checked_client(client, at)?;
            if clocks
                .insert(client, checked_clock(clock, clock_at)?)
                .is_some()
            {
                return Err(UpdateError::refused(at, "a client that comes twice"));
            }
        }
        if !reader.is_at_end() {
            return Err(UpdateError::refused(
                reader.position(),
                "bytes after the state vector",
            ));
        }
        clocks.retain(|_, clock| *clock > 0);
        Ok(StateVector(clocks))
    }

    /// Writes the form that Yjs reads, highest client first.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        write_var_uint(&mut out, self.0.len() as u64);
        for (client, clock) in self.0.iter().rev() {
            write_var_uint(&mut out, *client);
            write_var_uint(&mut out, u64::from(*clock));
        }
        out
    }

    /// How many elements of a client are known.
    pub fn clock(&self, client: ClientId) -> Clock {
        self.0.get(&client).copied().unwrap_or(0)
    }

    /// Raises a client's clock; lower values and zero are ignored.
    pub fn advance(&mut self, client: ClientId, to: Clock) {
        if to > 0 {
            let clock = self.0.entry(client).or_insert(0);
            *clock = to.max(*clock);
        }
    }

    /// The entries, lowest client first; no clock is zero.
    pub fn iter(&self) -> impl Iterator<Item = (ClientId, Clock)> + '_ {
        self.0.iter().map(|(client, clock)| (*client, *clock))
    }

    /// Whether everything that `other` counts is counted here.
    pub fn covers(&self, other: &StateVector) -> bool {
        other
            .iter()
            .all(|(client, clock)| self.clock(client) >= clock)
    }

    /// Nothing is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of clients.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl Update<'_> {
    /// The state vector of a document that holds nothing but this update, as Yjs's
    /// `encodeStateVectorFromUpdateV2` counts it: for each client from clock 0 to the first gap.
    pub fn state_vector(&self) -> StateVector {
        let mut vector = StateVector::default();
        for block in self.blocks() {
            if block.first == 0 {
                vector.advance(block.client, block.contiguous);
            }
        }
        vector
    }
}
