//! The algebra as a filter: one JSON command a line on stdin, one JSON answer a line on stdout.
//!
//! The differential suite in `interop/update` runs it beside Yjs. Bytes are hex. A command is
//! `{"op", "update" | "updates", "known"?}`, an answer `{"ok": …}` or `{"malformed"|"refused": …}`.

use std::io::{BufRead, BufReader, Write};

use epicenter_update::{
    Collect, Limits, Ready, StateVector, Update, UpdateError, compact, content_digest, diff,
    ingest, merge_bytes, snapshot_tag, to_v1, to_v2, validate,
};
use serde_json::{Map, Value, json};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut input = BufReader::new(std::io::stdin());
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut line = String::new();
    loop {
        // Whoever sends many commands at once gets the answers at once.
        if input.buffer().is_empty() {
            out.flush()?;
        }
        line.clear();
        if input.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let command: Value = serde_json::from_str(&line)?;
        let answer = match answer(&command) {
            Ok(value) => json!({ "ok": value }),
            Err(UpdateError::Refused { offset, limit }) => {
                json!({ "refused": limit, "offset": offset })
            }
            Err(error) => json!({ "malformed": error.to_string() }),
        };
        writeln!(out, "{answer}")?;
    }
}

fn answer(command: &Value) -> Result<Value, UpdateError> {
    let limits = Limits::default();
    let bytes = from_hex(&command["update"]);
    let known = match &command["known"] {
        Value::String(_) => StateVector::decode(&from_hex(&command["known"]), &limits)?,
        _ => StateVector::default(),
    };
    match command["op"].as_str().unwrap_or_default() {
        "validate" => validate(&bytes, &limits).map(|()| json!(true)),
        "summary" => {
            let summary = Update::parse(&bytes, &limits)?.summary();
            let mut structs = Map::new();
            for (client, ranges) in &summary.structs {
                let ranges = ranges.iter().map(|range| json!([range.start, range.end]));
                structs.insert(client.to_string(), ranges.collect());
            }
            Ok(json!({
                "structs": structs,
                "deletes": deletes(&summary.deletes),
                "dependencies": to_hex(&summary.dependencies.encode()),
            }))
        }
        "state_vector" => {
            let update = Update::parse(&bytes, &limits)?;
            Ok(json!(to_hex(&update.state_vector().encode())))
        }
        "merge" => {
            let inputs: Vec<Vec<u8>> = command["updates"]
                .as_array()
                .map(|list| list.iter().map(from_hex).collect())
                .unwrap_or_default();
            Ok(json!(to_hex(&merge_bytes(&inputs, &limits)?)))
        }
        "diff" => {
            let update = Update::parse(&bytes, &limits)?;
            Ok(json!(to_hex(&diff(&update, &known))))
        }
        "ingest" => {
            let update = Update::parse(&bytes, &limits)?;
            let result = ingest(&update, &known);
            Ok(json!({
                "advanced": to_hex(&result.advanced.encode()),
                "ready": match &result.ready {
                    Ready::Nothing => Value::Null,
                    Ready::Whole => json!(to_hex(&bytes)),
                    Ready::Part(bytes) => json!(to_hex(bytes)),
                },
                "whole": result.ready == Ready::Whole,
                "deletes": deletes(&result.deletes),
                "pending": result.pending.as_deref().map(to_hex),
                "missing": to_hex(&result.missing.encode()),
            }))
        }
        // The meaning, the compacted form and its digest, in one answer.
        "forms" => {
            let update = Update::parse(&bytes, &limits)?;
            let small = compact(&update, Collect::Deleted);
            let joined = compact(&update, Collect::Nothing);
            let read = Update::parse(&small, &limits)?;
            let v1 = to_v1(&update);
            Ok(json!({
                "compact": to_hex(&small),
                "again": to_hex(&compact(&read, Collect::Deleted)),
                "join": to_hex(&joined),
                "later": to_hex(&compact(&Update::parse(&joined, &limits)?, Collect::Deleted)),
                "digest": to_hex(&content_digest(&update)),
                "digest_compact": to_hex(&content_digest(&read)),
                "v1": v1.as_deref().ok().map(to_hex),
                "back": v1.ok().map(|v1| to_v2(&v1, &limits)).transpose()?.as_deref().map(to_hex),
            }))
        }
        "tag" => {
            let update = Update::parse(&bytes, &limits)?;
            let tag = snapshot_tag(&update.state_vector(), &update.deletes(), None);
            Ok(json!(to_hex(&tag)))
        }
        "compact" => {
            let update = Update::parse(&bytes, &limits)?;
            Ok(json!(to_hex(&compact(&update, Collect::Deleted))))
        }
        "join" => {
            let update = Update::parse(&bytes, &limits)?;
            Ok(json!(to_hex(&compact(&update, Collect::Nothing))))
        }
        "digest" => {
            let update = Update::parse(&bytes, &limits)?;
            Ok(json!(to_hex(&content_digest(&update))))
        }
        "to_v1" => {
            let update = Update::parse(&bytes, &limits)?;
            Ok(json!(to_hex(&to_v1(&update)?)))
        }
        "to_v2" => Ok(json!(to_hex(&to_v2(&bytes, &limits)?))),
        other => Ok(json!({ "unknown": other })),
    }
}

fn deletes(set: &epicenter_update::DeleteSet) -> Value {
    let clients = set.iter().map(|(client, ranges)| {
        let ranges = ranges.iter().map(|range| json!([range.start, range.end]));
        (client.to_string(), ranges.collect())
    });
    Value::Object(clients.collect())
}

fn from_hex(value: &Value) -> Vec<u8> {
    let digits = value.as_str().unwrap_or_default().as_bytes();
    let nibble = |digit: u8| match digit {
        b'0'..=b'9' => digit - b'0',
        _ => digit.wrapping_sub(b'a') + 10,
    };
    digits
        .chunks_exact(2)
        .map(|pair| nibble(pair[0]) << 4 | nibble(pair[1]))
        .collect()
}

fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}
