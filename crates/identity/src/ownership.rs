//! The ownership rule: the one place where a person becomes an owner (identity.md 3).

use std::fmt;

use crate::{OwnerId, UserId};

/// Who is admitted to a shared hub.
///
/// Entries are compared after trimming and with ASCII letters folded. An empty entry admits nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admit {
    /// Whole addresses.
    pub emails: Vec<String>,
    /// Whole domains: `example.com` does not admit `sub.example.com`.
    pub domains: Vec<String>,
}

impl Admit {
    fn admits(&self, email: &str) -> bool {
        // The local part may itself hold a quoted '@', so the domain is what follows the last one.
        let Some((local, domain)) = email.rsplit_once('@') else {
            return false;
        };
        if local.is_empty() || domain.is_empty() {
            return false;
        }
        lists(&self.emails, email) || lists(&self.domains, domain)
    }
}

fn lists(entries: &[String], wanted: &str) -> bool {
    entries
        .iter()
        .any(|entry| entry.trim().eq_ignore_ascii_case(wanted))
}

/// How a hub turns a person into an owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnershipRule {
    /// Everybody owns what is theirs: the owner is the user.
    Personal,
    /// Everybody who is admitted owns everything together: the owner is `shared`.
    Shared(Admit),
}

/// The person is not admitted to this shared hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the person is not admitted to this shared hub")]
pub struct NotAdmitted;

/// A person as the ownership rule sees it.
#[derive(Clone, PartialEq, Eq)]
pub struct Person {
    /// The account.
    pub id: UserId,
    /// Its address.
    pub email: String,
    /// Whether the address was proven to be this person's.
    pub email_verified: bool,
}

/// Addresses are kept out of logs.
impl fmt::Debug for Person {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Person")
            .field("id", &self.id)
            .field("email_verified", &self.email_verified)
            .finish_non_exhaustive()
    }
}

/// The rule of a personal hub.
pub fn personal() -> OwnershipRule {
    OwnershipRule::Personal
}

/// The rule of a shared hub.
pub fn shared(admit: Admit) -> OwnershipRule {
    OwnershipRule::Shared(admit)
}

impl OwnershipRule {
    /// The owner that this person acts for.
    ///
    /// # Errors
    /// [`NotAdmitted`] on a shared hub whose list does not name the person's *verified* address.
    pub fn resolve(&self, person: &Person) -> Result<OwnerId, NotAdmitted> {
        match self {
            OwnershipRule::Personal => Ok(OwnerId::of_user(&person.id)),
            OwnershipRule::Shared(admit)
                if person.email_verified && admit.admits(person.email.trim()) =>
            {
                Ok(OwnerId::shared())
            }
            OwnershipRule::Shared(_) => Err(NotAdmitted),
        }
    }

    /// Whether this is the rule of a shared hub.
    pub fn is_shared(&self) -> bool {
        matches!(self, OwnershipRule::Shared(_))
    }
}
