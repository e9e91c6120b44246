//! What an operator does to credits: looks at a person's, and gives more (`ai.md`).

use epicenter_server::ai::catalog::Credits;
use epicenter_server::ports::Clock as _;
use epicenter_store::{CreditStatement, Gift, Given};

use super::{AdminError, Administrator};

/// A line of the audit log, not a letter.
pub(super) const MAX_NOTE_CHARACTERS: usize = 200;

/// What somebody has. Credits are in thousandths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreditsOfUser {
    /// The address of the account.
    pub email: String,
    /// What the next call may cost.
    pub free: Credits,
    /// What is held for calls that are being made.
    pub held: Credits,
    /// What a call took beyond all there was; the next credits make up for it.
    pub owed: Credits,
    /// Was given credits, so that no call is too dear.
    pub is_paid: bool,
}

impl Administrator {
    /// Gives credits to an account, which counts as paid from then on; what it has afterwards. `opening` is what
    /// everybody begins with, by the hub's configuration.
    ///
    /// # Errors
    /// When calls cost nothing here, nobody has this address, or the amount or the note cannot be used.
    pub fn give_credits(
        &self,
        email: &str,
        amount: &str,
        note: Option<&str>,
        opening: Option<u32>,
    ) -> Result<CreditsOfUser, AdminError> {
        let opening = opening.ok_or(AdminError::NoCredits)?;
        let given = Credits::parse(amount)
            .filter(|credits| *credits > Credits::ZERO)
            .ok_or_else(|| AdminError::InvalidCredits(amount.to_owned()))?;
        let user = self.account(email)?.user;
        let gift = Gift {
            user: user.id,
            opening: Credits::whole(opening.into()),
            given,
            note: note.map(parse_note).transpose()?,
        };
        let act = self.act();
        let done = self.store.give_credits(&gift, &act);
        match self.runtime.block_on(done)? {
            Given::Done => self.show_credits(&user.email, Some(opening)),
            Given::TooMany => Err(AdminError::TooManyCredits(user.email)),
        }
    }

    /// What an account has. One that never called has what everybody begins with.
    ///
    /// # Errors
    /// When calls cost nothing here, or nobody has this address.
    pub fn show_credits(
        &self,
        email: &str,
        opening: Option<u32>,
    ) -> Result<CreditsOfUser, AdminError> {
        let opening = opening.ok_or(AdminError::NoCredits)?;
        let user = self.account(email)?.user;
        let found = self.store.find_credits(&user.id, self.clock.now_ms());
        let statement = self.runtime.block_on(found)?.unwrap_or(CreditStatement {
            left: i64::from(opening) * 1_000,
            held: 0,
            is_paid: false,
        });
        Ok(CreditsOfUser {
            email: user.email,
            free: above_zero(statement.left.saturating_sub(statement.held)),
            held: above_zero(statement.held),
            owed: above_zero(statement.left.saturating_neg()),
            is_paid: statement.is_paid,
        })
    }
}

fn above_zero(thousandths: i64) -> Credits {
    Credits::thousandths(u64::try_from(thousandths).unwrap_or(0))
}

fn parse_note(text: &str) -> Result<String, AdminError> {
    let text = text.trim();
    let is_line = !text.is_empty() && !text.chars().any(char::is_control);
    if is_line && text.chars().count() <= MAX_NOTE_CHARACTERS {
        Ok(text.to_owned())
    } else {
        Err(AdminError::InvalidNote)
    }
}
