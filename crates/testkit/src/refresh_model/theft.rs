//! The ways in which a stolen refresh token can be used, each played to its end.
//!
//! When thief and app have both asked, the grant is over and neither has a token that is good for anything.

use epicenter_server::oauth::GrantError;
use epicenter_server::oauth::rules::REPEAT_MS;
use epicenter_server::secret::Secret;
use futures_util::future::join;

use super::dice::Dice;
use super::{Counter, ModelTally, World};

/// A story about the token that the app holds now. The grant does not survive it.
pub(super) async fn play(
    world: &World,
    dice: &mut Dice,
    token: Secret,
    now_ms: u64,
    counter: &Counter,
    tally: &mut ModelTally,
) {
    let story = Story {
        world,
        counter,
        token,
        now_ms,
    };
    tally.thefts += 1;
    let told = match dice.below(7) {
        0 => story.after_the_app_went_on().await,
        1 => story.before_the_app_used_its_answer().await,
        2 => story.before_the_app_asked().await,
        3 => story.and_went_on_before_the_app_asked().await,
        4 => story.within_the_minute_and_again().await,
        5 => story.after_a_lost_answer_was_replaced().await,
        _ => story.at_the_same_time().await,
    };
    if told.is_ok() && world.is_revoked(&story.token).await {
        tally.caught += 1;
    }
}

struct Story<'a> {
    world: &'a World,
    counter: &'a Counter,
    /// What app and thief both hold.
    token: Secret,
    now_ms: u64,
}

/// The story did not go as it must.
struct Astray;

impl Story<'_> {
    async fn ask(&self, token: &Secret, after_ms: u64) -> Result<Secret, GrantError> {
        self.counter.count();
        self.world
            .refresh(&self.world.sound, token, self.now_ms + after_ms)
            .await
    }

    async fn works(&self, token: &Secret, after_ms: u64) -> Result<Secret, Astray> {
        self.ask(token, after_ms).await.map_err(|_| Astray)
    }

    async fn fails(&self, token: &Secret, after_ms: u64) -> Result<(), Astray> {
        match self.ask(token, after_ms).await {
            Err(GrantError::Invalid) => Ok(()),
            _ => Err(Astray),
        }
    }

    async fn after_the_app_went_on(&self) -> Result<(), Astray> {
        let second = self.works(&self.token, 0).await?;
        let third = self.works(&second, 0).await?;
        self.fails(&self.token, REPEAT_MS).await?;
        self.fails(&third, REPEAT_MS).await
    }

    async fn before_the_app_used_its_answer(&self) -> Result<(), Astray> {
        let apps = self.works(&self.token, 0).await?;
        let thiefs = self.works(&self.token, REPEAT_MS).await?;
        self.fails(&apps, 2 * REPEAT_MS).await?;
        self.fails(&thiefs, 2 * REPEAT_MS).await
    }

    async fn before_the_app_asked(&self) -> Result<(), Astray> {
        let thiefs = self.works(&self.token, 0).await?;
        let apps = self.works(&self.token, REPEAT_MS).await?;
        self.fails(&thiefs, REPEAT_MS).await?;
        self.fails(&apps, REPEAT_MS).await
    }

    async fn and_went_on_before_the_app_asked(&self) -> Result<(), Astray> {
        let second = self.works(&self.token, 0).await?;
        let third = self.works(&second, 0).await?;
        self.fails(&self.token, REPEAT_MS).await?;
        self.fails(&third, REPEAT_MS).await
    }

    async fn within_the_minute_and_again(&self) -> Result<(), Astray> {
        let shared = self.works(&self.token, 0).await?;
        let thiefs = self.works(&self.token, 30_000).await?;
        if thiefs.hash() != shared.hash() {
            return Err(Astray);
        }
        let apps = self.works(&shared, 40_000).await?;
        let thiefs = self.works(&shared, 40_000 + REPEAT_MS).await?;
        self.fails(&apps, 40_000 + REPEAT_MS).await?;
        self.fails(&thiefs, 40_000 + REPEAT_MS).await
    }

    async fn after_a_lost_answer_was_replaced(&self) -> Result<(), Astray> {
        let _lost = self.works(&self.token, 0).await?;
        let apps = self.works(&self.token, REPEAT_MS).await?;
        self.fails(&self.token, 2 * REPEAT_MS).await?;
        self.fails(&apps, 2 * REPEAT_MS).await
    }

    /// Who is first is not known, and does not matter.
    async fn at_the_same_time(&self) -> Result<(), Astray> {
        let apps = self.works(&self.token, 0).await?;
        let of_app = self.ask(&apps, REPEAT_MS);
        let of_thief = self.ask(&self.token, REPEAT_MS);
        match join(of_app, of_thief).await {
            (Err(GrantError::Invalid), Ok(next)) | (Ok(next), Err(GrantError::Invalid)) => {
                self.fails(&next, REPEAT_MS).await
            }
            (Err(GrantError::Invalid), Err(GrantError::Invalid)) => Ok(()),
            _ => Err(Astray),
        }
    }
}
