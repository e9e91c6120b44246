//! Writes the updates of vectors into `seeds/`, and says how many inputs of each corpus parse.
//!
//! Usage: `corpus seeds VECTOR.json...` or `corpus report`.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::io;
use std::path::Path;

use epicenter_fuzz::Input;

const TARGETS: [&str; 6] = ["validate", "ingest", "merge", "diff", "compact", "convert"];
/// Longer ones say nothing that shorter ones do not.
const LONGEST_SEED: usize = 600;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first() {
        Some((command, files)) if command == "seeds" => files.iter().try_for_each(|file| seeds(file)),
        _ => TARGETS.iter().try_for_each(|target| report(target)),
    }
}

/// Every hex string of a file that is long enough for an update.
fn seeds(file: &str) -> io::Result<()> {
    let text = fs::read_to_string(file)?;
    for word in text.split('"') {
        let is_hex = word.len() >= 26 && word.len().is_multiple_of(2) && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_hex || word.len() / 2 > LONGEST_SEED {
            continue;
        }
        let mut bytes = vec![0];
        bytes.extend((0..word.len()).step_by(2).filter_map(|at| u8::from_str_radix(&word[at..at + 2], 16).ok()));
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        fs::write(Path::new("seeds").join(format!("{:016x}", hasher.finish())), &bytes)?;
    }
    Ok(())
}

fn report(target: &str) -> io::Result<()> {
    let (mut inputs, mut updates, mut parsed, mut scripts) = (0_usize, 0_usize, 0_usize, 0_usize);
    for entry in fs::read_dir(Path::new("corpus").join(target))? {
        let bytes = fs::read(entry?.path())?;
        let input = Input::read(&bytes);
        inputs += 1;
        scripts += usize::from(bytes.first().is_some_and(|kind| kind % 2 == 1));
        updates += input.updates.len();
        parsed += input.parsed().len();
    }
    println!("{target}: {inputs} inputs ({scripts} scripts), {parsed} of their {updates} updates parse");
    Ok(())
}
