//! Hex, vectors and a room in miniature.

use std::path::Path;

use epicenter_update::{
    Collect, DeleteSet, Limits, Ready, StateVector, Update, UpdateError, compact, content_digest,
    diff, ingest, merge, merge_bytes, to_v1, to_v2, validate,
};
use serde_json::Value;

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "odd hex: {text}");
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// The hex string in a field of a case.
pub(crate) fn bytes_of(value: &Value) -> Vec<u8> {
    unhex(value.as_str().unwrap_or_else(|| panic!("not hex: {value}")))
}

pub(crate) fn vectors(name: &str) -> Vec<Value> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let shared = root.join("../shared/vectors").join(name);
    let own = root.join("vectors").join(name);
    let path = if shared.exists() { shared } else { own };
    let text = std::fs::read_to_string(&path).unwrap();
    let mut file: Value = serde_json::from_str(&text).unwrap();
    match file["cases"].take() {
        Value::Array(cases) => cases,
        other => panic!("{name} has no cases: {other}"),
    }
}

/// A file of this repository that has more than cases.
pub(crate) fn own_vectors(name: &str) -> Value {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors")).join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

pub(crate) fn parse(bytes: &[u8]) -> Update<'_> {
    Update::parse(bytes, &Limits::default())
        .unwrap_or_else(|error| panic!("{error}: {}", hex(bytes)))
}

pub(crate) fn merged<B: AsRef<[u8]>>(inputs: &[B]) -> Vec<u8> {
    let updates: Vec<Update<'_>> = inputs.iter().map(|bytes| parse(bytes.as_ref())).collect();
    let merged = merge(&updates);
    let again = merge_bytes(inputs, &Limits::default());
    assert_eq!(again.as_ref(), Ok(&merged), "bytes that are read again");
    merged
}

pub(crate) fn clocks(entries: &[(u64, u32)]) -> StateVector {
    let mut vector = StateVector::default();
    for (client, clock) in entries {
        vector.advance(*client, *clock);
    }
    vector
}

/// The clocks that a case names, `{"client": clock}`.
pub(crate) fn clocks_of(value: &Value) -> StateVector {
    let mut vector = StateVector::default();
    for (client, clock) in value.as_object().unwrap() {
        let clock = u32::try_from(clock.as_u64().unwrap()).unwrap();
        vector.advance(client.parse().unwrap(), clock);
    }
    vector
}

pub(crate) fn set(entries: &[(u64, u32, u32)]) -> DeleteSet {
    let mut set = DeleteSet::default();
    for (client, start, end) in entries {
        set.insert(*client, *start..*end);
    }
    set
}

/// What a room keeps: ready rows, pending rows, the clocks it knows and what is deleted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Room {
    pub(crate) ready: Vec<Vec<u8>>,
    pub(crate) pending: Vec<Vec<u8>>,
    pub(crate) known: StateVector,
    pub(crate) deletes: DeleteSet,
}

impl Room {
    pub(crate) fn receive(&mut self, update: &[u8]) {
        let mut queue = vec![update.to_vec()];
        while let Some(bytes) = queue.pop() {
            let result = ingest(&parse(&bytes), &self.known);
            match result.ready {
                Ready::Nothing => assert!(result.advanced.is_empty() && result.deletes.is_empty()),
                Ready::Whole => self.ready.push(bytes.clone()),
                Ready::Part(part) => self.ready.push(part),
            }
            for (client, clock) in result.missing.iter() {
                let reached = self.known.clock(client).max(result.advanced.clock(client));
                assert!(reached < clock, "missing names a known clock");
            }
            assert_eq!(result.missing.is_empty(), result.pending.is_none());
            self.pending.extend(result.pending);
            self.deletes.extend(&result.deletes);
            for (client, clock) in result.advanced.iter() {
                assert!(self.known.clock(client) < clock);
                self.known.advance(client, clock);
            }
            if !result.advanced.is_empty() {
                queue.append(&mut self.pending);
            }
        }
        let visible = merged(&self.ready);
        assert_eq!(parse(&visible).state_vector(), self.known);
        assert_eq!(parse(&visible).deletes(), self.deletes);
    }

    /// The room after its memory was lost: ready rows alone are visible, pending ones come again.
    pub(crate) fn reloaded(&self) -> Room {
        let mut room = Room::default();
        room.receive(&merged(&self.ready));
        assert!(room.pending.is_empty(), "ready rows came back as pending");
        for row in &self.pending {
            room.receive(row);
        }
        assert_eq!(room.known, self.known);
        room
    }

    /// Everything, pending parts included.
    pub(crate) fn everything(&self) -> Vec<u8> {
        let rows: Vec<&Vec<u8>> = self.ready.iter().chain(&self.pending).collect();
        merged(&rows)
    }
}

/// Runs every operation on bytes that may be anything and checks what must always hold.
pub(crate) fn exercise(bytes: &[u8], base: Option<&[u8]>) -> Result<(), UpdateError> {
    let limits = Limits::default();
    let checked = validate(bytes, &limits);
    let update = match Update::parse(bytes, &limits) {
        Ok(update) => {
            assert_eq!(checked, Ok(()), "validate and parse disagree");
            update
        }
        Err(error) => {
            assert_eq!(checked, Err(error.clone()), "validate and parse disagree");
            let with_deletes = Update::parse_with_deletes(bytes, &limits);
            assert_eq!(with_deletes.err(), Some(error.clone()));
            return Err(error);
        }
    };
    let vector = update.state_vector();
    let summary = update.summary();
    assert_eq!(summary.deletes, update.deletes());
    let (again, deletes) = Update::parse_with_deletes(bytes, &limits).unwrap();
    assert_eq!(again.summary(), summary);
    assert_eq!(deletes, summary.deletes);
    let single = merged(&[bytes]);
    assert_eq!(merged(&[&single]), single, "a merge of a merge");
    assert_eq!(merged(&[bytes, bytes]), single, "a merge with itself");
    let rewritten = parse(&single);
    assert_eq!(rewritten.state_vector(), vector);
    assert_eq!(rewritten.summary().structs, summary.structs);
    assert_eq!(rewritten.deletes(), summary.deletes);

    let mut half = StateVector::default();
    for (client, clock) in vector.iter() {
        half.advance(client, clock / 2);
    }
    for known in [&StateVector::default(), &vector, &half] {
        parse(&diff(&update, known));
        let split = ingest(&update, known);
        if let Ready::Part(part) = &split.ready {
            parse(part);
        }
        if let Some(pending) = &split.pending {
            parse(pending);
        }
    }
    exercise_compaction(&update, bytes);
    exercise_v1(&update, bytes);
    if let Some(base) = base {
        let joined = merged(&[base, bytes]);
        assert_eq!(merged(&[bytes, base]), joined, "the order of a merge");
        parse(&joined);
        let mut room = Room::default();
        room.receive(base);
        room.receive(bytes);
        room.reloaded();
        parse(&diff(&parse(&room.everything()), &vector));
    }
    Ok(())
}

fn exercise_compaction(update: &Update<'_>, bytes: &[u8]) {
    for collect in [Collect::Deleted, Collect::Nothing] {
        let output = compact(update, collect);
        let read = parse(&output);
        assert_eq!(compact(&read, collect), output, "compacted again");
        assert_eq!(read.state_vector(), update.state_vector());
        assert_eq!(read.summary().structs, update.summary().structs);
        assert!(read.deletes().contains_all(&update.deletes()));
        assert_eq!(content_digest(&read), content_digest(update));
        let joined = merged(&[&output[..], bytes]);
        assert_eq!(content_digest(&parse(&joined)), content_digest(update));
    }
}

/// What has a form in V1 comes back from it; nothing comes out of V1 bytes but updates.
fn exercise_v1(update: &Update<'_>, bytes: &[u8]) {
    if let Ok(v1) = to_v1(update) {
        let back = to_v2(&v1, &Limits::default()).unwrap_or_else(|error| panic!("{error}"));
        let read = parse(&back);
        assert_eq!(read.summary(), update.summary());
        assert_eq!(to_v1(&read).as_ref(), Ok(&v1), "there and back and there");
    }
    if let Ok(back) = to_v2(bytes, &Limits::default()) {
        parse(&back);
    }
}
