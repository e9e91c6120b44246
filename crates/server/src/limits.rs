//! How much anybody may ask for: token buckets by address or account, and growing pauses for those who guess passwords
//! (`http.md` 7, `identity.md` 1).
//!
//! Pure but for a lock: time is a parameter. Keys are addresses (an IPv6 network of 64 bits counts as one, because that is
//! what one customer gets) and hashes of texts, so that memory is bounded whatever people send. An address with an account
//! and one without are counted alike: being refused tells nothing.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sha2::{Digest as _, Sha256};

use crate::auth::cache::BoundedCache;
use crate::config::{Rate, RateLimitsConfig};

/// Keys that are remembered for each kind; some 100 bytes each. Those that were not used for longest go first.
const MAX_KEYS: usize = 100_000;

/// The longest pause after wrong passwords. Longer ones would only help to keep somebody else out.
const MAX_PAUSE_MS: u64 = 3_600_000;

/// Wrong passwords are forgotten when no more came for so long after the pause they brought.
const FORGET_MS: u64 = 3_600_000;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Attempts to sign in, to sign up, to spend a link or to change a password.
    SignIn,
    /// The token endpoint.
    Token,
    /// Any other endpoint below `/auth`.
    Auth,
    /// Tokens that the API refused.
    Refused,
    /// The API.
    Api,
    /// AI models.
    Ai,
}

/// Too much was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RetryAfter {
    /// For `Retry-After`; at least one.
    pub(crate) seconds: u64,
}

impl RetryAfter {
    fn milliseconds(milliseconds: u64) -> Self {
        Self {
            seconds: milliseconds.div_ceil(1_000).max(1),
        }
    }
}

/// The counters of this process.
pub(crate) struct Limits {
    config: RateLimitsConfig,
    sign_in: Mutex<Buckets>,
    token: Mutex<Buckets>,
    auth: Mutex<Buckets>,
    refused: Mutex<Buckets>,
    api: Mutex<Buckets>,
    ai: Mutex<Buckets>,
    guesses: Mutex<BoundedCache<(Peer, TextDigest), Guesses>>,
}

impl fmt::Debug for Limits {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Limits")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// Texts are kept by their SHA-256: of one size, and no address of a person stays in memory.
type TextDigest = [u8; 32];

/// Who asks, as far as the network tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Peer {
    V4([u8; 4]),
    /// The first 64 bits.
    V6([u8; 8]),
    /// A host that gives no addresses: all callers share one budget, because none at all would be no limit.
    Unknown,
}

impl Peer {
    fn of(ip: Option<IpAddr>) -> Self {
        match ip.map(|ip| ip.to_canonical()) {
            Some(IpAddr::V4(ip)) => Self::V4(ip.octets()),
            Some(IpAddr::V6(ip)) => {
                let [a, b, c, d, e, f, g, h, ..] = ip.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
            None => Self::Unknown,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Peer(Peer),
    Text(TextDigest),
}

/// For each key the time at which its bucket is full again, in microseconds: a bucket is one number then, and a key that
/// is forgotten after that time loses nothing.
type Buckets = BoundedCache<Key, u64>;

/// Wrong passwords for one account from one peer.
#[derive(Clone, Copy, Debug)]
struct Guesses {
    count: u32,
    /// No further one before this time.
    paused_until_ms: u64,
}

impl Limits {
    pub(crate) fn new(config: RateLimitsConfig) -> Self {
        let buckets = || Mutex::new(BoundedCache::new(MAX_KEYS));
        Self {
            config,
            sign_in: buckets(),
            token: buckets(),
            auth: buckets(),
            refused: buckets(),
            api: buckets(),
            ai: buckets(),
            guesses: Mutex::new(BoundedCache::new(MAX_KEYS)),
        }
    }

    /// Takes one from the bucket of the key or, without one, of the address.
    ///
    /// # Errors
    /// When the bucket is empty; it is left as it was then.
    pub(crate) fn check(
        &self,
        kind: Kind,
        ip: Option<IpAddr>,
        key: Option<&str>,
        now_ms: u64,
    ) -> Result<(), RetryAfter> {
        if !self.config.enabled {
            return Ok(());
        }
        let (buckets, rate) = self.buckets(kind);
        let key = match key {
            Some(text) => Key::Text(digest(text)),
            None => Key::Peer(Peer::of(ip)),
        };
        take(&mut lock(buckets), key, rate, now_ms)
    }

    /// Whether there is one to take from the bucket of the address; takes none.
    ///
    /// # Errors
    /// When the bucket is empty.
    pub(crate) fn peek(
        &self,
        kind: Kind,
        ip: Option<IpAddr>,
        now_ms: u64,
    ) -> Result<(), RetryAfter> {
        if !self.config.enabled {
            return Ok(());
        }
        let (buckets, rate) = self.buckets(kind);
        let key = Key::Peer(Peer::of(ip));
        full_after_one(&mut lock(buckets), &key, rate, now_ms).map(|_| ())
    }

    fn buckets(&self, kind: Kind) -> (&Mutex<Buckets>, Rate) {
        match kind {
            Kind::SignIn => (&self.sign_in, self.config.sign_in),
            Kind::Token => (&self.token, self.config.token),
            Kind::Auth => (&self.auth, self.config.auth),
            Kind::Refused => (&self.refused, self.config.refused),
            Kind::Api => (&self.api, self.config.api),
            Kind::Ai => (&self.ai, self.config.ai),
        }
    }

    /// Counts an attempt on an account as a wrong password before it is looked at, so that many at once are not one. The
    /// caller says afterwards when it was not: [`Self::guess_was_right`], [`Self::guess_was_not_checked`].
    ///
    /// # Errors
    /// While a pause lasts; it does not grow by asking.
    pub(crate) fn begin_guess(
        &self,
        ip: Option<IpAddr>,
        email: &str,
        now_ms: u64,
    ) -> Result<(), RetryAfter> {
        if !self.config.enabled {
            return Ok(());
        }
        let key = (Peer::of(ip), digest(email));
        let mut guesses = lock(&self.guesses);
        let known = guesses
            .find(&key)
            .filter(|known| now_ms < known.paused_until_ms.saturating_add(FORGET_MS));
        let (count, paused_until_ms) =
            known.map_or((0, 0), |known| (known.count, known.paused_until_ms));
        if now_ms < paused_until_ms {
            return Err(RetryAfter::milliseconds(paused_until_ms - now_ms));
        }
        let count = count.saturating_add(1);
        let pause_ms = pause_ms(self.config.sign_in_account, count);
        let paused_until_ms = now_ms.saturating_add(pause_ms);
        guesses.insert(
            key,
            Guesses {
                count,
                paused_until_ms,
            },
        );
        Ok(())
    }

    /// The password was right: the earlier ones were slips.
    pub(crate) fn guess_was_right(&self, ip: Option<IpAddr>, email: &str) {
        lock(&self.guesses).remove(&(Peer::of(ip), digest(email)));
    }

    /// The password could not be looked at; nobody pays for that.
    pub(crate) fn guess_was_not_checked(&self, ip: Option<IpAddr>, email: &str, now_ms: u64) {
        let key = (Peer::of(ip), digest(email));
        let mut guesses = lock(&self.guesses);
        if let Some(known) = guesses.find(&key) {
            let count = known.count.saturating_sub(1);
            // A pause that was there before had ended, or the attempt would not have begun.
            let paused_until_ms = known.paused_until_ms.min(now_ms);
            guesses.insert(
                key,
                Guesses {
                    count,
                    paused_until_ms,
                },
            );
        }
    }
}

/// None for the first ones, then the time in which they would have come back, then twice as long each time.
fn pause_ms(rate: Rate, count: u32) -> u64 {
    match count.checked_sub(rate.count) {
        None => 0,
        Some(beyond) => {
            let factor = 1_u64.checked_shl(beyond).unwrap_or(u64::MAX);
            rate.per_ms.saturating_mul(factor).min(MAX_PAUSE_MS)
        }
    }
}

fn take(buckets: &mut Buckets, key: Key, rate: Rate, now_ms: u64) -> Result<(), RetryAfter> {
    let full_at_us = full_after_one(buckets, &key, rate, now_ms)?;
    buckets.insert(key, full_at_us);
    Ok(())
}

/// The time at which a bucket is full again once one more has been taken from it; an error when there is none to take.
fn full_after_one(
    buckets: &mut Buckets,
    key: &Key,
    rate: Rate,
    now_ms: u64,
) -> Result<u64, RetryAfter> {
    let now_us = now_ms.saturating_mul(1_000);
    let whole_us = rate.per_ms.saturating_mul(1_000);
    // A rate of nothing is a bucket that is never full enough.
    let one_us = whole_us
        .checked_div(u64::from(rate.count))
        .unwrap_or(u64::MAX)
        .max(1);
    let full_at_us = buckets.find(key).unwrap_or(0).max(now_us);
    let then_full_at_us = full_at_us.saturating_add(one_us);
    let missing_us = then_full_at_us.saturating_sub(now_us.saturating_add(whole_us));
    if missing_us > 0 {
        let seconds_ms = missing_us.div_ceil(1_000).min(rate.per_ms);
        return Err(RetryAfter::milliseconds(seconds_ms));
    }
    Ok(then_full_at_us)
}

fn digest(text: &str) -> TextDigest {
    Sha256::digest(text.as_bytes()).into()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Counters are changed in steps that cannot panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::{Kind, Limits, MAX_KEYS, MAX_PAUSE_MS, RetryAfter};
    use crate::config::{Rate, RateLimitsConfig};

    const NOW: u64 = 1_800_000_000_000;

    fn limits() -> Limits {
        Limits::new(RateLimitsConfig {
            sign_in: Rate {
                count: 3,
                per_ms: 60_000,
            },
            sign_in_account: Rate {
                count: 2,
                per_ms: 10_000,
            },
            ..RateLimitsConfig::default()
        })
    }

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    fn wait(seconds: u64) -> Result<(), RetryAfter> {
        Err(RetryAfter { seconds })
    }

    #[test]
    fn a_bucket_empties_at_once_and_fills_evenly() {
        let limits = limits();
        let ask = |at: u64| limits.check(Kind::SignIn, ip("192.0.2.1"), None, NOW + at);
        for _ in 0..3 {
            assert_eq!(ask(0), Ok(()));
        }
        assert_eq!(ask(0), wait(20));
        assert_eq!(ask(19_999), wait(1));
        assert_eq!(ask(20_000), Ok(()));
        assert_eq!(ask(20_000), wait(20));
        assert_eq!(ask(200_000), Ok(()));
        assert_eq!(ask(200_000), Ok(()));
        assert_eq!(
            ask(200_000),
            Ok(()),
            "a full bucket holds no more than that"
        );
        assert_eq!(ask(200_000), wait(20));
    }

    #[test]
    fn a_look_into_a_bucket_takes_nothing_and_says_when_it_is_empty() {
        let limits = limits();
        let from = ip("192.0.2.1");
        let look = |at: u64| limits.peek(Kind::SignIn, from, NOW + at);
        for _ in 0..3 {
            for _ in 0..10 {
                assert_eq!(look(0), Ok(()));
            }
            assert_eq!(limits.check(Kind::SignIn, from, None, NOW), Ok(()));
        }
        assert_eq!(look(0), wait(20));
        assert_eq!(look(19_999), wait(1));
        assert_eq!(look(20_000), Ok(()));
        assert_eq!(limits.peek(Kind::SignIn, ip("192.0.2.2"), NOW), Ok(()));
    }

    #[test]
    fn peers_are_counted_apart_and_a_network_of_64_bits_together() {
        let limits = limits();
        let ask = |from: &str| limits.check(Kind::SignIn, ip(from), None, NOW).is_ok();
        for last in 1..=3 {
            assert!(ask(&format!("2001:db8::{last}")));
        }
        assert!(!ask("2001:db8::ffff:ffff:ffff:ffff"));
        assert!(ask("2001:db8:0:1::1"));
        for _ in 0..3 {
            assert!(ask("192.0.2.1"));
        }
        assert!(
            !ask("::ffff:192.0.2.1"),
            "the same machine in its other form"
        );
        assert!(ask("192.0.2.2"));
    }

    #[test]
    fn kinds_and_keys_are_counted_apart() {
        let limits = limits();
        let from = ip("192.0.2.1");
        for _ in 0..3 {
            assert!(limits.check(Kind::SignIn, from, None, NOW).is_ok());
        }
        assert!(limits.check(Kind::SignIn, from, None, NOW).is_err());
        assert!(limits.check(Kind::Token, from, None, NOW).is_ok());
        assert!(limits.check(Kind::SignIn, from, Some("ada"), NOW).is_ok());
    }

    #[test]
    fn without_addresses_all_share_one_budget() {
        let limits = limits();
        for _ in 0..3 {
            assert!(limits.check(Kind::SignIn, None, None, NOW).is_ok());
        }
        assert!(limits.check(Kind::SignIn, None, None, NOW).is_err());
    }

    #[test]
    fn a_rate_of_nothing_refuses_and_limits_can_be_off() {
        let mut config = RateLimitsConfig::default();
        config.api.count = 0;
        let limits = Limits::new(config.clone());
        assert_eq!(limits.check(Kind::Api, None, Some("ada"), NOW), wait(60));
        config.enabled = false;
        let limits = Limits::new(config);
        for _ in 0..1_000 {
            assert!(limits.check(Kind::Api, None, Some("ada"), NOW).is_ok());
            assert!(limits.check(Kind::Refused, None, None, NOW).is_ok());
            assert!(limits.peek(Kind::Refused, None, NOW).is_ok());
            assert!(limits.begin_guess(None, "ada@example.com", NOW).is_ok());
        }
    }

    #[test]
    fn the_pause_after_wrong_passwords_doubles_up_to_a_bound() {
        let limits = limits();
        let from = ip("192.0.2.1");
        let mut now = NOW;
        assert_eq!(limits.begin_guess(from, "ada", now), Ok(()));
        for pause in [10, 20, 40, 80, 160, 320, 640, 1_280, 2_560, 3_600, 3_600] {
            assert_eq!(limits.begin_guess(from, "ada", now), Ok(()));
            assert_eq!(limits.begin_guess(from, "ada", now), wait(pause));
            now += pause * 1_000 - 1;
            assert_eq!(limits.begin_guess(from, "ada", now), wait(1));
            now += 1;
        }
        assert_eq!(limits.begin_guess(from, "ada", now), Ok(()));
        let forgotten = now + 2 * MAX_PAUSE_MS;
        assert_eq!(limits.begin_guess(from, "ada", forgotten), Ok(()));
        assert_eq!(limits.begin_guess(from, "ada", forgotten), Ok(()));
        assert_eq!(limits.begin_guess(from, "ada", forgotten), wait(10));
    }

    #[test]
    fn guesses_count_for_one_account_and_one_peer() {
        let limits = limits();
        for _ in 0..2 {
            assert!(limits.begin_guess(ip("192.0.2.1"), "ada", NOW).is_ok());
        }
        assert!(limits.begin_guess(ip("192.0.2.1"), "ada", NOW).is_err());
        assert!(limits.begin_guess(ip("192.0.2.1"), "bob", NOW).is_ok());
        assert!(
            limits.begin_guess(ip("192.0.2.2"), "ada", NOW).is_ok(),
            "a stranger cannot keep ada out"
        );
    }

    #[test]
    fn the_right_password_and_one_that_was_not_checked_are_no_guesses() {
        let limits = limits();
        for _ in 0..10 {
            assert!(limits.begin_guess(None, "ada", NOW).is_ok());
            limits.guess_was_right(None, "ada");
            assert!(limits.begin_guess(None, "bob", NOW).is_ok());
            limits.guess_was_not_checked(None, "bob", NOW);
        }
        for _ in 0..2 {
            assert!(limits.begin_guess(None, "bob", NOW).is_ok());
        }
        limits.guess_was_not_checked(None, "bob", NOW);
        assert!(limits.begin_guess(None, "bob", NOW).is_ok());
        assert!(limits.begin_guess(None, "bob", NOW).is_err());
    }

    #[test]
    fn a_flood_of_keys_does_not_fill_memory_nor_free_who_keeps_asking() {
        let limits = limits();
        let hammer = ip("192.0.2.1");
        for key in 0..MAX_KEYS as u32 * 2 {
            let flood = Some(IpAddr::from((0x0a00_0000 + key).to_be_bytes()));
            assert!(limits.check(Kind::SignIn, flood, None, NOW).is_ok());
            let allowed = limits.check(Kind::SignIn, hammer, None, NOW).is_ok();
            assert_eq!(allowed, key < 3);
        }
    }
}
