//! yrs on the same inputs.

use anyhow::{Context as _, bail};
use yrs::updates::decoder::Decode as _;
use yrs::updates::encoder::Encode as _;
use yrs::{Doc, ReadTxn as _, StateVector, Transact as _, Update};

type Work = fn(&[Vec<u8>]) -> anyhow::Result<usize>;

/// The work that a name stands for.
pub(super) fn operation(name: &str) -> anyhow::Result<Work> {
    Ok(match name {
        "yrs-validate" => run_validate,
        "yrs-ingest" => run_ingest,
        "yrs-merge" => run_merge,
        "yrs-diff" => run_diff,
        "yrs-compact" => run_compact,
        "yrs-to_v1" => run_to_v1,
        other => bail!("unknown operation: {other}"),
    })
}

fn run_validate(inputs: &[Vec<u8>]) -> anyhow::Result<usize> {
    for bytes in inputs {
        Update::decode_v2(bytes)?;
    }
    Ok(inputs.len())
}

fn load(inputs: &[Vec<u8>]) -> anyhow::Result<Doc> {
    let doc = Doc::new();
    for bytes in inputs {
        doc.transact_mut().apply_update(Update::decode_v2(bytes)?)?;
    }
    Ok(doc)
}

fn run_ingest(inputs: &[Vec<u8>]) -> anyhow::Result<usize> {
    load(inputs)?;
    Ok(inputs.len())
}

/// Its work grows with the square of the number, so that a log is merged by parts.
fn run_merge(inputs: &[Vec<u8>]) -> anyhow::Result<usize> {
    let mut parts: Vec<Vec<u8>> = inputs.to_vec();
    while parts.len() > 1 {
        let merged: Result<Vec<_>, _> = parts
            .chunks(64)
            .map(|chunk| yrs::merge_updates_v2(chunk.iter().map(Vec::as_slice)))
            .collect();
        parts = merged?;
    }
    Ok(parts.first().map_or(0, Vec::len))
}

fn state(inputs: &[Vec<u8>]) -> anyhow::Result<&[u8]> {
    Ok(inputs.first().context("no state")?)
}

fn run_diff(inputs: &[Vec<u8>]) -> anyhow::Result<usize> {
    let update = state(inputs)?;
    let mut half = StateVector::default();
    for (client, clock) in Update::decode_v2(update)?.state_vector().iter() {
        half.set_max(*client, clock / 2);
    }
    Ok(yrs::diff_updates_v2(update, &half.encode_v2())?.len())
}

fn run_compact(inputs: &[Vec<u8>]) -> anyhow::Result<usize> {
    let doc = load(inputs)?;
    let bytes = doc
        .transact()
        .encode_state_as_update_v2(&StateVector::default());
    Ok(bytes.len())
}

fn run_to_v1(inputs: &[Vec<u8>]) -> anyhow::Result<usize> {
    Ok(Update::decode_v2(state(inputs)?)?.encode_v1().len())
}
