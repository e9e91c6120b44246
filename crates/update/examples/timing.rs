//! How long the operations take on updates as Yjs writes them. Run with `--release`.

use std::hint::black_box;
use std::io::Write;
use std::time::Instant;

use epicenter_update::{Limits, StateVector, Update, ingest, merge, validate};

/// One character typed behind the last one: client 7, clock `clock`, in the text `body`.
fn edit(clock: u8) -> Vec<u8> {
    let id = |clock: u8| -> Vec<u8> {
        let clock = u32::from(clock) * 2;
        match clock {
            0..64 => vec![clock as u8],
            _ => vec![(clock & 63) as u8 | 128, (clock >> 6) as u8],
        }
    };
    if clock == 0 {
        return vec![
            0, 0, 1, 7, 0, 0, 1, 4, 8, 5, b'b', b'o', b'd', b'y', b'x', 4, 1, 1, 1, 0, 0, 1, 1, 0,
            0,
        ];
    }
    let left = id(clock - 1);
    let mut bytes = vec![0, 0, 2, 0x47, 0, left.len() as u8];
    bytes.extend(left);
    bytes.extend([0, 1, 0x84, 3, 1, b'x', 1, 0, 0, 0, 1, 1, clock, 0]);
    bytes
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = std::io::stdout().lock();
    let limits = Limits::default();
    let one = edit(100);
    for bytes in [&one[..], &MAP_ENTRIES] {
        let each = best(|| {
            validate(black_box(bytes), &limits)?;
            Ok(())
        })?;
        writeln!(out, "validate {} bytes: {each} ns", bytes.len())?;
    }

    let mut known = StateVector::default();
    known.advance(7, 100);
    let each = best(|| {
        black_box(Update::parse(black_box(&one), &limits)?);
        Ok(())
    })?;
    writeln!(out, "parse: {each} ns")?;
    let each = best(|| {
        black_box(ingest(&Update::parse(black_box(&one), &limits)?, &known));
        Ok(())
    })?;
    writeln!(out, "parse and ingest: {each} ns")?;

    for count in [1_000_usize, 10_000, 100_000, 1_000_000] {
        let inputs: Vec<Vec<u8>> = (0..count).map(text_edit).collect();
        let bytes: usize = inputs.iter().map(Vec::len).sum();
        let start = Instant::now();
        let updates = inputs
            .iter()
            .map(|bytes| Update::parse(bytes, &limits))
            .collect::<Result<Vec<_>, _>>()?;
        let parsed = start.elapsed();
        let merged = merge(&updates);
        writeln!(
            out,
            "merge of {count} edits, {bytes} bytes to {}: {} ms, of these parsing {} ms",
            merged.len(),
            start.elapsed().as_millis(),
            parsed.as_millis(),
        )?;
        let start = Instant::now();
        let update = Update::parse(&merged, &limits)?;
        let again = merge(&[update]);
        writeln!(
            out,
            "  once more: {} ms, same {}",
            start.elapsed().as_millis(),
            again == merged
        )?;
    }
    Ok(())
}

/// Two entries of a map, a string and a number, as Yjs writes them in one transaction.
const MAP_ENTRIES: [u8; 47] = *b"\x00\x00\x01\x01\x00\x00\x01\x28\x13\x0emetatitlemetan\
\x04\x05\x04\x01\x01\x01\x00\x02\x41\x00\x01\x02\x00\x77\x05Hello\x7d\x2a\x00";

/// Nanoseconds for one call in the best of many rounds: others may use the machine too.
fn best(
    mut call: impl FnMut() -> Result<(), Box<dyn std::error::Error>>,
) -> Result<u128, Box<dyn std::error::Error>> {
    let mut best = u128::MAX;
    for _ in 0..200 {
        let start = Instant::now();
        for _ in 0..2_000 {
            call()?;
        }
        best = best.min(start.elapsed().as_nanos() / 2_000);
    }
    Ok(best)
}

/// The n-th character of a text, as its own update with clocks of any size.
fn text_edit(n: usize) -> Vec<u8> {
    if n == 0 {
        return edit(0);
    }
    let mut left = Vec::new();
    let doubled = (n as u64 - 1) * 2;
    left.push((doubled & 63) as u8 | if doubled > 63 { 128 } else { 0 });
    if doubled > 63 {
        epicenter_update::lib0::write_var_uint(&mut left, doubled >> 6);
    }
    let mut bytes = vec![0, 0, 2, 0x47, 0, left.len() as u8];
    bytes.extend(left);
    bytes.extend([0, 1, 0x84, 3, 1, b'x', 1, 0, 0, 0, 1, 1]);
    epicenter_update::lib0::write_var_uint(&mut bytes, n as u64);
    bytes.push(0);
    bytes
}
