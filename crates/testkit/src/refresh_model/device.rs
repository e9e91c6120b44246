//! One installation of an honest app.

use std::pin::pin;
use std::task::Poll;

use epicenter_server::oauth::GrantError;
use epicenter_server::oauth::rules::REPEAT_MS;
use epicenter_server::secret::Secret;
use futures_util::future::{join_all, poll_fn};

use super::dice::Dice;
use super::{Counter, DAY_MS, ModelTally, World, theft};

/// Asking so often in vain is a fault of the store's, not of the rule.
const PATIENCE: usize = 100;

/// Apps sign in anew before the absolute end of a grant.
const GRANT_LIFE_MS: u64 = 300 * DAY_MS;

pub(super) struct Device {
    number: usize,
    dice: Dice,
    token: Secret,
    signed_in_at_ms: u64,
    /// The first request with the token, when no answer has come.
    asked_at_ms: Option<u64>,
    /// The token before, and when it was first presented: what a tab may still hold.
    previous: Option<(Secret, u64)>,
}

/// What became of one request.
enum Outcome {
    Answer(Secret),
    /// The app knows nothing: lost, broken off or "try again".
    Nothing,
    SignedOut,
}

impl Device {
    pub(super) async fn new(world: &World, seed: u64, number: usize, now_ms: u64) -> Self {
        Self {
            number,
            dice: Dice::new(seed.rotate_left(17) ^ (number as u64).wrapping_mul(0x1234_5678_9ABC)),
            token: world.sign_in(now_ms).await,
            signed_in_at_ms: now_ms,
            asked_at_ms: None,
            previous: None,
        }
    }

    /// What this device does in a round.
    pub(super) async fn step(&mut self, world: &World, now_ms: u64) -> ModelTally {
        let mut tally = ModelTally::default();
        let counter = Counter::default();
        if now_ms - self.signed_in_at_ms >= GRANT_LIFE_MS {
            self.sign_in(world, now_ms).await;
        }
        let lost = if self.asked_at_ms.is_some() {
            self.retry(world, now_ms, &counter, &mut tally).await
        } else if self.dice.one_in(300) {
            theft::play(
                world,
                &mut self.dice,
                self.token.clone(),
                now_ms,
                &counter,
                &mut tally,
            )
            .await;
            self.sign_in(world, now_ms).await;
            None
        } else {
            match self.dice.below(4) {
                0 => self.tabs(world, now_ms, &counter, &mut tally).await,
                1 => self.late_tab(world, now_ms, &counter, &mut tally).await,
                _ => self.ask(world, now_ms, &counter, &mut tally).await,
            }
        };
        if let Some(what) = lost {
            tally.lost.push(format!("device {}: {what}", self.number));
            self.sign_in(world, now_ms).await;
        }
        tally.refreshes = counter.total();
        tally
    }

    async fn sign_in(&mut self, world: &World, now_ms: u64) {
        self.token = world.sign_in(now_ms).await;
        self.signed_in_at_ms = now_ms;
        self.asked_at_ms = None;
        self.previous = None;
    }

    /// One request.
    async fn ask(
        &mut self,
        world: &World,
        now_ms: u64,
        counter: &Counter,
        tally: &mut ModelTally,
    ) -> Option<&'static str> {
        let token = self.token.clone();
        let outcome = request(world, &mut self.dice, &token, now_ms, counter).await;
        self.learn(outcome, now_ms, tally, "a plain refresh")
    }

    /// The answer never came: within its minute as often as it takes, later once and then at once until it comes.
    async fn retry(
        &mut self,
        world: &World,
        now_ms: u64,
        counter: &Counter,
        tally: &mut ModelTally,
    ) -> Option<&'static str> {
        let asked_at_ms = self.asked_at_ms.unwrap_or(now_ms);
        if now_ms - asked_at_ms < REPEAT_MS {
            return self.ask(world, now_ms, counter, tally).await;
        }
        tally.late_retries += 1;
        for _ in 0..PATIENCE {
            if let Some(what) = self.ask(world, now_ms, counter, tally).await {
                return Some(what);
            }
            self.asked_at_ms?;
        }
        Some("no answer in a hundred requests")
    }

    /// Several tabs that share a store and notice at the same time that the access token is over.
    async fn tabs(
        &mut self,
        world: &World,
        now_ms: u64,
        counter: &Counter,
        tally: &mut ModelTally,
    ) -> Option<&'static str> {
        tally.concurrent += 1;
        let count = 2 + self.dice.below(3);
        let token = self.token.clone();
        let mut dices: Vec<Dice> = (0..count)
            .map(|_| Dice::new(self.dice.below(u64::MAX)))
            .collect();
        let requests = dices
            .iter_mut()
            .map(|dice| request(world, dice, &token, now_ms, counter));
        let mut known: Option<Secret> = None;
        for outcome in join_all(requests).await {
            match outcome {
                Outcome::SignedOut => return Some("one of several tabs"),
                Outcome::Nothing => tally.mishaps += 1,
                Outcome::Answer(next) => {
                    if known.is_some_and(|known| known.hash() != next.hash()) {
                        return Some("two tabs got different answers");
                    }
                    known = Some(next);
                }
            }
        }
        let outcome = known.map_or(Outcome::Nothing, Outcome::Answer);
        self.learn(outcome, now_ms, tally, "several tabs")
    }

    /// A tab that still holds the token before; within that one's minute it gets the newest answer.
    async fn late_tab(
        &mut self,
        world: &World,
        now_ms: u64,
        counter: &Counter,
        tally: &mut ModelTally,
    ) -> Option<&'static str> {
        let Some((token, at_ms)) = self.previous.clone() else {
            return self.ask(world, now_ms, counter, tally).await;
        };
        if now_ms - at_ms >= REPEAT_MS {
            return self.ask(world, now_ms, counter, tally).await;
        }
        tally.late_tabs += 1;
        match request(world, &mut self.dice, &token, now_ms, counter).await {
            Outcome::SignedOut => Some("a late tab"),
            Outcome::Nothing => {
                tally.mishaps += 1;
                None
            }
            Outcome::Answer(next) if next.hash() == self.token.hash() => None,
            Outcome::Answer(_) => Some("a late tab got an old answer"),
        }
    }

    fn learn(
        &mut self,
        outcome: Outcome,
        now_ms: u64,
        tally: &mut ModelTally,
        what: &'static str,
    ) -> Option<&'static str> {
        match outcome {
            Outcome::SignedOut => Some(what),
            Outcome::Nothing => {
                tally.mishaps += 1;
                self.asked_at_ms.get_or_insert(now_ms);
                None
            }
            Outcome::Answer(next) => {
                // The minute began when the first request was committed, which was not before it was sent.
                let presented_at_ms = self.asked_at_ms.take().unwrap_or(now_ms);
                let before = std::mem::replace(&mut self.token, next);
                self.previous = Some((before, presented_at_ms));
                None
            }
        }
    }
}

/// One request, which may break off on the way and whose answer may be lost.
async fn request(
    world: &World,
    dice: &mut Dice,
    token: &Secret,
    now_ms: u64,
    counter: &Counter,
) -> Outcome {
    counter.count();
    let breaks_off_after = if dice.one_in(20) {
        dice.below(12)
    } else {
        u64::MAX
    };
    let is_lost = dice.one_in(20);
    let mut asking = pin!(world.refresh(&world.shaky, token, now_ms));
    let mut polls = 0;
    let answer = poll_fn(|context| {
        if polls == breaks_off_after {
            return Poll::Ready(None);
        }
        polls += 1;
        asking.as_mut().poll(context).map(Some)
    });
    match answer.await {
        Some(Ok(_)) if is_lost => Outcome::Nothing,
        Some(Ok(next)) => Outcome::Answer(next),
        None | Some(Err(GrantError::Unavailable)) => Outcome::Nothing,
        Some(Err(_)) => Outcome::SignedOut,
    }
}
