//! Metrics in the OpenMetrics text format, for `GET /metrics` of the admin listener.
//!
//! Whatever is counted anyway is read when somebody asks: counters of the log, of the rooms, of admission. New counters
//! are relaxed atomics. Nothing is global: every hub has its own, so that several can live in one process.
//!
//! Invariant: a label has one of a fixed set of values, or is the template of a route. No user, owner, room, device, path
//! or address is ever a label. The table in `docs/operations.md` lists every family, and a test compares it with what a
//! hub shows.

mod counting;
mod http;
mod identity;
mod process;
mod sheet;

use std::fmt;
use std::sync::Arc;

use epicenter_server::ports::RoomsDuty;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use crate::admission::Admission;
use crate::log::{COMMIT_TIME_BOUNDS_NS, LogStats, SqliteLog};
use crate::rooms::RoomRegistry;
use sheet::Sheet;

pub(crate) use counting::{Count, Histogram, Labelled, Times};
pub(crate) use http::HttpStats;
pub(crate) use identity::IdentityStats;

/// The media type of what [`Report::text`] makes.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything that a hub counts.
pub(crate) struct Sources {
    pub(crate) rooms: RoomRegistry,
    pub(crate) log: Arc<SqliteLog>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) http: Arc<HttpStats>,
    pub(crate) identity: Arc<IdentityStats>,
    /// None on an embedded store: rooms are served here.
    pub(crate) duty: Option<watch::Receiver<RoomsDuty>>,
    /// When the hub started, in milliseconds since the Unix epoch.
    pub(crate) started_ms: u64,
}

/// The metrics of one hub.
#[derive(Debug)]
pub(crate) struct Report(Registry);

impl Report {
    pub(crate) fn of(sources: Sources) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(sources));
        Self(registry)
    }

    /// The whole page. Looks at every room in memory and at every open file, so it belongs on a blocking thread.
    ///
    /// # Errors
    /// Never in practice: a text takes whatever is written to it.
    pub(crate) fn text(&self) -> Result<String, fmt::Error> {
        let mut page = String::new();
        text::encode(&mut page, &self.0)?;
        Ok(page)
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Sources")
    }
}

impl Collector for Sources {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut sheet = Sheet(encoder);
        self.sockets(&mut sheet)?;
        self.frames(&mut sheet)?;
        self.memory(&mut sheet)?;
        self.documents(&mut sheet)?;
        let stats = self.log.stats();
        commits(&mut sheet, &stats)?;
        stored(&mut sheet, &stats)?;
        self.requests(&mut sheet)?;
        self.accounts(&mut sheet)?;
        self.ai(&mut sheet)?;
        self.hub(&mut sheet)
    }
}

impl Sources {
    fn sockets(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let stats = self.rooms.stats();
        sheet.gauge(
            "epicenter_sockets_open",
            "WebSockets that were admitted and have not ended",
            self.admission.open() as f64,
        )?;
        let hub = stats
            .closes_by_hub
            .read()
            .map(|(code, count)| ("hub", code, count));
        let peer = stats
            .closes_by_peer
            .read()
            .map(|(code, count)| ("peer", code, count));
        let lost = [("lost", "none", stats.sockets_lost.read())];
        sheet.counters(
            "epicenter_socket_closes",
            "WebSockets that ended, by who closed them and with which code; refused upgrades among them",
            hub.chain(peer)
                .chain(lost)
                .map(|(by, code, count)| ([("by", by), ("code", code)], count)),
        )?;
        sheet.counter(
            "epicenter_slow_consumers",
            "Sockets closed with 1013 because their peer did not read",
            stats.slow_consumers.read(),
        )?;
        sheet.counter(
            "epicenter_socket_protocol_errors",
            "Sockets closed because a text frame broke the protocol",
            stats.protocol_errors.read(),
        )
    }

    fn frames(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let stats = self.rooms.stats();
        sheet.counters(
            "epicenter_frames_received",
            "Frames that rooms have read, by kind",
            [
                ([("kind", "binary")], stats.binary_frames_in.read()),
                ([("kind", "text")], stats.text_frames_in.read()),
            ],
        )?;
        sheet.counter(
            "epicenter_frames_received_bytes",
            "Payload of these frames",
            stats.bytes_in.read(),
        )?;
        sheet.counter(
            "epicenter_frames_sent",
            "Frames that rooms have sent, one for each receiver",
            stats.frames_out.read(),
        )?;
        sheet.counter(
            "epicenter_frames_sent_bytes",
            "Bytes of these frames with their headers",
            stats.bytes_out.read(),
        )?;
        let dropped = stats.frames_dropped.read();
        sheet.counters(
            "epicenter_frames_dropped",
            "Frames that could not be read, by what was wrong; their sockets stay open",
            dropped.map(|(what, count)| ([("what", what.replace(' ', "_"))], count)),
        )?;
        sheet.counter(
            "epicenter_updates_accepted",
            "Updates handed to the log, those that wait for others among them",
            stats.updates_accepted.read(),
        )?;
        let refused = stats.updates_refused.read();
        sheet.counters(
            "epicenter_updates_refused",
            "Updates refused, by the limit they met",
            refused.map(|(limit, count)| ([("limit", limit)], count)),
        )?;
        sheet.counter(
            "epicenter_pending_dropped",
            "Updates of which a waiting part was dropped because its room holds as many as it may",
            stats.pending_dropped.read(),
        )
    }

    fn memory(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let census = self.rooms.census();
        sheet.gauge(
            "epicenter_rooms_loaded",
            "Rooms in memory",
            census.rooms as f64,
        )?;
        sheet.gauge(
            "epicenter_rooms_awake",
            "Rooms with their document in memory",
            census.awake as f64,
        )?;
        sheet.gauge(
            "epicenter_room_connections",
            "Sockets that have joined their room",
            census.connections as f64,
        )?;
        sheet.gauge(
            "epicenter_inbox_commands",
            "Commands waiting for rooms",
            census.inbox_commands as f64,
        )?;
        sheet.gauge(
            "epicenter_inbox_bytes",
            "Bytes of these commands",
            census.inbox_bytes as f64,
        )?;
        sheet.gauge(
            "epicenter_inbox_deepest_commands",
            "Commands in the fullest inbox",
            census.deepest_inbox as f64,
        )?;
        sheet.gauge(
            "epicenter_room_timers",
            "Rooms that want to be woken some time",
            census.timers as f64,
        )?;
        sheet.gauge(
            "epicenter_cache_bytes",
            "Bytes of merged documents in memory",
            census.cache_bytes as f64,
        )
    }

    fn documents(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let stats = self.rooms.stats();
        sheet.counter(
            "epicenter_room_restarts",
            "Rooms closed and read again: storage failed, the lease moved, or a fault",
            stats.restarts.read(),
        )?;
        sheet.counter(
            "epicenter_room_panics",
            "Faults in rooms",
            stats.panics.read(),
        )?;
        sheet.counter(
            "epicenter_log_mismatches",
            "Rooms whose log did not end where they had left it",
            stats.log_mismatches.read(),
        )?;
        sheet.histograms(
            "epicenter_state_build_duration_seconds",
            "Times of reading and merging, by purpose: to load a room, or to answer with what somebody lacks",
            [
                ([("purpose", "load")], stats.loads.read()),
                ([("purpose", "answer")], stats.answers.read()),
            ],
        )?;
        sheet.counters(
            "epicenter_state_builds_failed",
            "Reads and merges that failed, by purpose",
            [
                ([("purpose", "load")], stats.failed_loads.read()),
                ([("purpose", "answer")], stats.failed_answers.read()),
            ],
        )?;
        let outcomes = stats.compaction_outcomes.read();
        sheet.counters(
            "epicenter_compactions",
            "Compactions that ended, by outcome",
            outcomes.map(|(outcome, count)| ([("outcome", outcome)], count)),
        )?;
        sheet.histogram(
            "epicenter_compaction_duration_seconds",
            "Times of compactions, the wait for the log's writer among them",
            &stats.compactions.read(),
        )
    }

    fn requests(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        sheet.counters(
            "epicenter_http_requests",
            "Requests answered, by template of the route and class of the status; an upgrade is 1xx",
            self.http.requests(),
        )?;
        sheet.histograms(
            "epicenter_http_request_duration_seconds",
            "Times until the head of the answer, by template of the route",
            self.http.times(),
        )?;
        sheet.counters(
            "epicenter_http_refusals",
            "Requests and upgrades refused, by the name in the error; not those of the token endpoint and of pages",
            self.http.refusals(),
        )
    }

    fn accounts(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let stats = &self.identity;
        sheet.counter(
            "epicenter_sign_ins",
            "Sign-ins with a password",
            stats.sign_ins.read(),
        )?;
        let refused = stats.sign_ins_refused.read();
        sheet.counters(
            "epicenter_sign_ins_refused",
            "Sign-ins refused, by reason",
            refused.map(|(reason, count)| ([("reason", reason)], count)),
        )?;
        sheet.counter(
            "epicenter_sign_ups",
            "Accounts made by their owners",
            stats.sign_ups.read(),
        )?;
        let issued = stats.tokens.read();
        sheet.counters(
            "epicenter_tokens_issued",
            "Answers of the token endpoint with tokens, by grant type",
            issued.map(|(grant, count)| ([("grant_type", grant)], count)),
        )?;
        let refused = stats.tokens_refused.read();
        sheet.counters(
            "epicenter_tokens_refused",
            "Answers of the token endpoint without, by the error of RFC 6749",
            refused.map(|(error, count)| ([("error", error)], count)),
        )?;
        sheet.counter(
            "epicenter_revocations",
            "Revocations read from the store, those that it kept from before the start among them",
            self.rooms.revocations_seen(),
        )
    }

    fn ai(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let stats = &self.identity;
        sheet.gauge(
            "epicenter_ai_calls_open",
            "Calls of models that were taken in and are not settled yet",
            stats.ai_calls_open.read() as f64,
        )?;
        let ended = stats.ai_calls.read();
        sheet.counters(
            "epicenter_ai_calls",
            "Calls of models that were settled, by outcome as in their usage rows",
            ended.map(|(outcome, count)| ([("outcome", outcome)], count)),
        )?;
        sheet.counter(
            "epicenter_ai_settlements_failed",
            "Calls of models whose cost or usage row could not be written",
            stats.ai_settlements_failed.read(),
        )
    }

    fn hub(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let duty = match &self.duty {
            None => RoomsDuty::Here,
            Some(duty) => duty.borrow().clone(),
        };
        sheet.gauges(
            "epicenter_rooms_duty",
            "1 for who serves rooms: this process, another one, or nobody",
            ["here", "elsewhere", "nobody"]
                .map(|who| ([("who", who)], f64::from(who == name_of(&duty)))),
        )?;
        sheet.gauge(
            "process_resident_memory_bytes",
            "Memory that the process really has (Linux)",
            process::resident_bytes(),
        )?;
        sheet.gauge(
            "process_open_fds",
            "Open file descriptors (Linux)",
            process::open_files(),
        )?;
        sheet.gauge(
            "process_max_fds",
            "File descriptors that may be open (Linux)",
            process::max_files(),
        )?;
        sheet.counter(
            "process_cpu_seconds",
            "Processor time that the process has used",
            process::cpu_seconds(),
        )?;
        sheet.gauge(
            "process_start_time_seconds",
            "When the hub started, in seconds since 1970",
            self.started_ms as f64 / 1e3,
        )?;
        sheet.gauges(
            "epicenter_build_info",
            "1, for the version that runs",
            [([("version", env!("CARGO_PKG_VERSION"))], 1.0)],
        )
    }
}

/// What `rooms` and the metrics call a duty; where else rooms are is nobody's business here.
pub(crate) fn name_of(duty: &RoomsDuty) -> &'static str {
    match duty {
        RoomsDuty::Here => "here",
        RoomsDuty::Elsewhere { .. } => "elsewhere",
        RoomsDuty::Nobody => "nobody",
    }
}

fn commits(sheet: &mut Sheet<'_>, stats: &LogStats) -> fmt::Result {
    let bounds = COMMIT_TIME_BOUNDS_NS.map(|bound| bound as f64 / 1e9);
    let times = &stats.commit_times;
    let sum_seconds = times.total_ns as f64 / 1e9;
    let histogram = Histogram::new(&bounds, times.classes.into_iter(), sum_seconds);
    sheet.histogram(
        "epicenter_log_commit_duration_seconds",
        "Times of commits of the room log, from the start of the transaction to the end of its fsync",
        &histogram,
    )?;
    sheet.counter("epicenter_log_rows", "Rows in these commits", stats.rows)?;
    sheet.counter(
        "epicenter_log_commits_failed",
        "Commits that failed, with every append in them",
        stats.failed_commits,
    )?;
    sheet.gauge(
        "epicenter_log_queue_bytes",
        "Bytes waiting for the disk",
        stats.queued_bytes as f64,
    )?;
    sheet.counter(
        "epicenter_log_read_faults",
        "Reads of the room log that failed",
        stats.read_faults,
    )
}

fn stored(sheet: &mut Sheet<'_>, stats: &LogStats) -> fmt::Result {
    sheet.counters(
        "epicenter_log_replacements",
        "Logs replaced by one state, by result",
        [
            ([("result", "done")], stats.replaced),
            ([("result", "stale")], stats.stale_replacements),
            ([("result", "failed")], stats.failed_replacements),
        ],
    )?;
    sheet.counter(
        "epicenter_log_compactions_rejected",
        "States that did not equal their log and were quarantined; a person should look",
        stats.rejected,
    )?;
    sheet.gauge(
        "epicenter_log_quarantined",
        "Quarantined states that are kept",
        stats.rejections as f64,
    )?;
    sheet.gauge(
        "epicenter_log_generations",
        "Previous generations of logs that are kept",
        stats.generations as f64,
    )?;
    sheet.gauge(
        "epicenter_log_generation_bytes",
        "Bytes of these generations",
        stats.generation_bytes as f64,
    )?;
    sheet.counter(
        "epicenter_log_rooms_purged",
        "Deleted rooms that lost their content",
        stats.purged_rooms,
    )?;
    sheet.gauge(
        "epicenter_log_purge_backlog_rows",
        "Rows that no longer count and are still to be deleted",
        stats.purge_backlog as f64,
    )
}
