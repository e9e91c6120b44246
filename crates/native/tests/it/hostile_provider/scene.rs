//! A hub all of whose providers are one hostile one, a person with credits, and the books to compare at the end.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use epicenter_identity::UserId;
use epicenter_native::config::{AdminListen, HostConfig};
use epicenter_native::store::open_sqlite;
use epicenter_server::ai::catalog::{Credits, Model, Price};
use epicenter_server::ai::settings::{AiTimes, Provider as Settings, ProviderKey};
use epicenter_server::ai::store::{CreditStore as _, Outcome, UsageRow};
use epicenter_server::secret::Secret;
use epicenter_testkit::{HttpAnswer, HttpRequest, TestHub, TestUser};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::play::{MARK, Provider, Script};

/// Longer than anything here takes.
pub(super) const LIMIT: Duration = Duration::from_secs(60);

pub(super) const CANARY: &str = "sk-canary-e07b55";
pub(super) const QUESTION: &str = "twenty-five-bytes-of-text";
/// Four bytes to a token, rounded up.
const QUESTION_TOKENS: u64 = 7;

/// What everybody begins with, in whole credits.
const OPENING: u32 = 1_000_000_000;

/// A thousandth of a credit for each token that is sent, three for each that comes back.
const PRICE: Price = Price::PerMillionTokens {
    input: Credits::whole(1_000),
    output: Credits::whole(3_000),
};

/// The providers of a scene, one for each protocol.
pub(super) const PROVIDERS: [&str; 4] = ["openai", "gemini", "anthropic", "local"];

pub(super) struct Scene {
    pub(super) hub: TestHub,
    pub(super) user: TestUser,
    pub(super) provider: Provider,
    pub(super) max_streams: usize,
}

/// What came back for one question.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) answer: HttpAnswer,
    pub(super) events: Vec<Value>,
    pub(super) is_done: bool,
}

impl Reply {
    pub(super) fn of(answer: HttpAnswer) -> Self {
        let text = String::from_utf8(answer.body.clone()).unwrap();
        assert!(!text.contains(CANARY), "{text}");
        let mut reply = Self {
            answer,
            events: Vec::new(),
            is_done: false,
        };
        if reply.answer.status != 200 {
            return reply;
        }
        for block in text.split_terminator("\n\n") {
            assert!(!reply.is_done, "nothing follows [DONE]: {text}");
            match block.strip_prefix("data: ") {
                Some("[DONE]") => reply.is_done = true,
                Some(data) => reply.events.push(serde_json::from_str(data).unwrap()),
                None => assert!(block.starts_with(": "), "{block}"),
            }
        }
        reply
    }

    pub(super) fn last(&self) -> &Value {
        self.events.last().expect("a stream has events")
    }

    /// The code of the error that ended the stream; none after a good end.
    pub(super) fn code(&self) -> Option<&str> {
        assert_eq!(self.answer.status, 200, "{:?}", self.answer);
        let last = self.last();
        assert_eq!(self.is_done, last["type"] != "RUN_ERROR", "{last}");
        (!self.is_done).then(|| last["code"].as_str().expect("a code"))
    }

    pub(super) fn text(&self) -> String {
        let of_text = self.events.iter().filter(|event| {
            matches!(
                event["type"].as_str(),
                Some("TEXT_MESSAGE_CONTENT" | "REASONING_MESSAGE_CONTENT")
            )
        });
        of_text
            .map(|event| event["delta"].as_str().unwrap())
            .collect()
    }

    /// Bytes of the model's that left the hub.
    fn output_bytes(&self) -> u64 {
        let length = |event: &Value| match event["type"].as_str() {
            Some("TEXT_MESSAGE_CONTENT" | "REASONING_MESSAGE_CONTENT" | "TOOL_CALL_ARGS") => {
                event["delta"].as_str().unwrap().len() as u64
            }
            Some("TOOL_CALL_START") => event["toolName"].as_str().unwrap().len() as u64,
            _ => 0,
        };
        self.events.iter().map(length).sum()
    }
}

impl Scene {
    /// `cases` models of each provider, numbered from zero.
    pub(super) async fn start(cases: usize, adjust: impl FnOnce(&mut HostConfig)) -> Self {
        let provider = Provider::start().await;
        let mut max_streams = 0;
        let hub = TestHub::start_over(quick_directory(), |config| {
            config.admin.listen = AdminListen::At(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
            let key = || ProviderKey::Held(Secret::presented(CANARY));
            let url = format!("http://{}", provider.address);
            let versioned = format!("{url}/v1");
            config.ai.providers = vec![
                Settings::openai(key()).at(&versioned),
                Settings::gemini(key()).at(&url),
                Settings::anthropic(key()).at(&url),
                Settings::compatible("local", &versioned, key()),
            ];
            for name in PROVIDERS {
                config.ai.models.extend((0..cases).map(|number| Model {
                    price: PRICE,
                    ..Model::plain(name, &case(number))
                }));
            }
            config.ai_credits.opening = Some(OPENING);
            config.rate_limits.enabled = false;
            config.ai.max_streams = 48;
            adjust(config);
            max_streams = config.ai.max_streams;
        })
        .await;
        let user = hub.user("ada@example.test").await;
        Self {
            hub,
            user,
            provider,
            max_streams,
        }
    }

    /// Calls that the hub says are open, from its metrics.
    async fn open_calls(&self) -> u64 {
        let page = HttpRequest::new("GET", "/metrics")
            .send(self.hub.admin_address())
            .await;
        let page = String::from_utf8(page.body).unwrap();
        let mut lines = page.lines();
        let gauge = lines.find_map(|line| line.strip_prefix("epicenter_ai_calls_open "));
        // Gauges are written as floats.
        let open = gauge.expect("the gauge").trim_end_matches(".0");
        open.parse().unwrap()
    }

    /// Waits until the hub holds nothing of any call: no place, no credits, no row to write.
    pub(super) async fn check_no_call_is_open(&self) {
        let began = Instant::now();
        loop {
            let open = self.open_calls().await;
            if open == 0 {
                return;
            }
            assert!(began.elapsed() < LIMIT, "{open} calls stay open");
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// The same with clocks that tests can wait for.
    pub(super) async fn start_impatient(cases: usize) -> Self {
        Self::start(cases, |config| {
            config.ai.max_answer_bytes = 1024 * 1024;
            config.ai.times = AiTimes {
                first_byte_ms: 4_000,
                silence_ms: 4_000,
                answer_ms: 8_000,
                keep_alive_ms: 200,
            };
        })
        .await
    }

    fn body(provider: &str, model: &str) -> String {
        json!({
            "messages": [{ "role": "user", "content": QUESTION }],
            "data": { "provider": provider, "model": model },
        })
        .to_string()
    }

    /// Asks one model, for which these scripts are played, and reads the answer to its end.
    pub(super) async fn ask(&self, provider: &str, number: usize, scripts: Vec<Script>) -> Reply {
        let model = case(number);
        self.provider.expect(&model, scripts);
        let answer = HttpRequest::new("POST", "/api/ai/chat")
            .bearer(&self.user.token)
            .header("Content-Type", "application/json")
            .body(Self::body(provider, &model))
            .send(self.hub.address())
            .await;
        Reply::of(answer)
    }

    /// Asks, and leaves the answer on the socket.
    pub(super) async fn open(&self, provider: &str, number: usize, script: Script) -> TcpStream {
        let model = case(number);
        self.provider.expect(&model, vec![script]);
        let body = Self::body(provider, &model);
        let mut socket = TcpStream::connect(self.hub.address()).await.unwrap();
        let head = format!(
            "POST /api/ai/chat HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            self.hub.address(),
            self.user.token,
            body.len()
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        socket
    }

    /// Waits until the provider has been asked for this case.
    pub(super) async fn asked(&self, number: usize) {
        let case = case(number);
        until("the provider is asked", || {
            !self.provider.records(&case).is_empty()
        })
        .await;
    }

    /// Rows by model, once there are as many as calls.
    pub(super) async fn rows(&self, calls: usize) -> HashMap<String, UsageRow> {
        let store = open_sqlite(&self.hub.data_dir().join("identity.db"))
            .unwrap()
            .store;
        let began = Instant::now();
        loop {
            let rows = store.list_usage(100_000).await.unwrap();
            if rows.len() >= calls {
                assert_eq!(rows.len(), calls, "one row for each call");
                let by_model = rows.into_iter().map(|row| (row.model.clone(), row));
                let rows: HashMap<_, _> = by_model.collect();
                self.check_balance(&rows).await;
                return rows;
            }
            assert!(began.elapsed() < LIMIT, "{} of {calls} rows", rows.len());
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// What is left is what was given less what the rows say; so no reservation is left either.
    async fn check_balance(&self, rows: &HashMap<String, UsageRow>) {
        let store = open_sqlite(&self.hub.data_dir().join("identity.db"))
            .unwrap()
            .store;
        let user = UserId::parse(&self.user.owner).unwrap();
        let opening = Credits::whole(u64::from(OPENING));
        let began = Instant::now();
        let spent: u64 = rows.values().map(|row| row.credits.as_thousandths()).sum();
        loop {
            // Reservations last a quarter of an hour: held credits are missing from the balance.
            let now_ms = rows.values().map(|row| row.at_ms).max().unwrap_or(0);
            let account = store.credit_account(&user, opening, now_ms).await.unwrap();
            if account.balance.as_thousandths() == opening.as_thousandths() - spent {
                return;
            }
            assert!(began.elapsed() < LIMIT, "{account:?}, {spent} spent");
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// What the row of a reply must say: charged by what left the hub, or not at all.
    pub(super) fn check_row(context: &str, reply: &Reply, row: &UsageRow) {
        let outcome = match reply.answer.status {
            200 if reply.is_done => Outcome::Completed,
            200 => Outcome::Failed,
            _ => Outcome::Refused,
        };
        assert_eq!(row.outcome, outcome, "{context}: {row:?}");
        Self::check_charge(context, reply.output_bytes(), row);
    }

    /// The rule of decision 25, from what the client has heard and what the provider counted.
    pub(super) fn check_charge(context: &str, heard: u64, row: &UsageRow) {
        let is_complete = row.outcome == Outcome::Completed;
        let UsageRow {
            input_tokens,
            output_tokens,
            ..
        } = *row;
        let input = match input_tokens {
            0 => QUESTION_TOKENS,
            counted => counted,
        };
        let is_counted = input_tokens > 0 || output_tokens > 0;
        let output = if is_complete && is_counted {
            output_tokens
        } else {
            output_tokens.max(heard.div_ceil(4))
        };
        let expect = match heard > 0 || is_complete {
            true => input + 3 * output,
            false => 0,
        };
        assert_eq!(
            row.credits.as_thousandths(),
            expect,
            "{context}: {heard} bytes heard, {row:?}"
        );
    }

    /// Nothing is open, and all places are free: as many answers as one person may have, and not one more.
    pub(super) async fn check_all_is_free(&self, first_case: usize) {
        until("the hub leaves the provider", || {
            self.provider.open_requests() == 0
        })
        .await;
        self.check_no_call_is_open().await;
        let mut open = Vec::new();
        for number in first_case..first_case + self.max_streams {
            open.push(
                self.open("local", number, vec![super::play::Step::Hold])
                    .await,
            );
        }
        for number in first_case..first_case + self.max_streams {
            self.asked(number).await;
        }
        assert_eq!(self.open_calls().await, self.max_streams as u64);
        let refused = self.ask("local", first_case, Vec::new()).await;
        assert_eq!(refused.answer.status, 429, "{refused:?}");
        assert_eq!(refused.answer.error_name(), "RateLimited");
        let left_at = Instant::now();
        drop(open);
        until("the hub leaves the provider", || {
            self.provider.open_requests() == 0
        })
        .await;
        let took = left_at.elapsed();
        assert!(took < Duration::from_secs(1), "it took {took:?}");
        self.check_no_call_is_open().await;
    }
}

/// In memory where the system has that: each of thousands of calls is committed three times, and what a disk keeps of them
/// is not the question here.
fn quick_directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .expect("a temporary directory")
}

pub(super) fn case(number: usize) -> String {
    format!("{MARK}{number:05}")
}

/// Looks again until it is so.
pub(super) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < LIMIT, "in vain: {what}");
        sleep(Duration::from_millis(2)).await;
    }
}
