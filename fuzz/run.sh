#!/usr/bin/env bash
# Runs every fuzz target for some seconds over its corpus, with address sanitizer, a memory cap and a time cap per input.
#
#   fuzz/run.sh SECONDS [TARGET...]
#
# Needs nothing but the toolchain of this repository and a C++ compiler: RUSTC_BOOTSTRAP lets a stable compiler take the
# flags of the sanitizer, which is what `cargo fuzz` passes to a nightly one. With `KEEP=1` new inputs stay in the corpus;
# otherwise they go to target/. A crash is written to fuzz/artifacts/ and ends the run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

seconds=${1:?usage: fuzz/run.sh SECONDS [TARGET...]}
shift
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(validate ingest merge diff compact convert)

triple=$(rustc -vV | sed -n 's/^host: //p')
export RUSTC_BOOTSTRAP=1
export CARGO_INCREMENTAL=0
export CARGO_TARGET_DIR=$PWD/target
RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Zsanitizer=address -Ccodegen-units=1 --cfg fuzzing" \
    cargo build --release --locked --target "$triple" --quiet

for target in "${targets[@]}"; do
    mkdir -p "corpus/$target" "artifacts/$target" "target/found/$target"
    found=target/found/$target
    [ "${KEEP:-0}" = 0 ] || found=corpus/$target
    echo "=== fuzz $target"
    # An input may hold 512 MB and take 10 s; sanitized code is some ten times slower and larger than it is outside.
    outcome=0
    "target/$triple/release/$target" "$found" "corpus/$target" seeds \
        -max_total_time="$seconds" -rss_limit_mb=512 -malloc_limit_mb=256 -timeout=10 -max_len=2048 \
        -artifact_prefix="artifacts/$target/" -print_final_stats=1 >"target/$target.log" 2>&1 || outcome=$?
    if [ "$outcome" != 0 ]; then
        tail -40 "target/$target.log"
        exit 1
    fi
    # Coverage as libFuzzer counts it: edges (cov) and features (ft), from the last line of its log.
    grep -E 'INITED' "target/$target.log" || true
    grep -E '^#[0-9]+.*DONE|stat::number_of_executed|stat::peak' "target/$target.log"
done
