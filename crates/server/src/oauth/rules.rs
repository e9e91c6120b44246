//! The rule of refresh tokens: what is to be done with one that is presented (`identity.md` 2, RFC 9700 section 4.14).
//!
//! A rotated token that comes back is either an honest app whose answer was lost, or a thief. Who asks again at once gets
//! the same answer; who asks later gets a new one as long as nobody has ever shown the old answer's token; anything else
//! means that two parties hold what one party should.

use super::store::RefreshToken;
use crate::secret::SecretHash;

/// How long a rotated token is given the same answer again.
pub const REPEAT_MS: u64 = 60_000;

/// How long an answer that nobody used may be replaced.
pub const REPLACE_MS: u64 = 7 * 86_400_000;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is the newest one: rotate it.
    Rotate,
    /// Give the newest answer that followed from it.
    Repeat,
    /// The answer was lost: give a new one and kill the token in the old one.
    Replace {
        /// The token nobody has seen.
        unseen: SecretHash,
    },
    /// It is held by two parties: the grant ends.
    Reuse,
    /// Its time or its grant is over: nothing changes.
    Refuse,
}

/// Decides. A time of rotation that lies ahead is another process's clock and counts as now.
pub fn decide(token: &RefreshToken, now_ms: u64) -> Decision {
    let is_over =
        token.grant.revoked || now_ms >= token.grant.expires_at_ms || now_ms >= token.expires_at_ms;
    if is_over {
        return Decision::Refuse;
    }
    if token.killed {
        return Decision::Reuse;
    }
    let Some(rotation) = &token.rotation else {
        return Decision::Rotate;
    };
    let age_ms = now_ms.saturating_sub(rotation.at_ms);
    if age_ms < REPEAT_MS && rotation.sealed_answer.is_some() {
        Decision::Repeat
    } else if rotation.successor_was_presented || rotation.reissued || age_ms >= REPLACE_MS {
        Decision::Reuse
    } else {
        Decision::Replace {
            unseen: rotation.successor,
        }
    }
}

#[cfg(test)]
mod tests {
    use epicenter_identity::{ClientId, GrantId, Scopes, UserId};

    use super::super::store::{Grant, RefreshToken, Rotation};
    use super::{Decision, REPEAT_MS, REPLACE_MS, decide};
    use crate::secret::SecretHash;

    const AT: u64 = 1_000_000;
    const END: u64 = AT + 30 * 86_400_000;
    fn unseen() -> SecretHash {
        SecretHash::from_bytes([2; 32])
    }

    fn newest() -> RefreshToken {
        RefreshToken {
            token: SecretHash::from_bytes([1; 32]),
            grant: Grant {
                id: GrantId::parse("grant").unwrap(),
                user: UserId::parse("ada").unwrap(),
                client: ClientId::parse("app").unwrap(),
                scopes: Scopes::NONE,
                requested_scope: String::new(),
                resource: String::new(),
                session: None,
                authenticated_at_ms: 0,
                created_at_ms: 0,
                expires_at_ms: END + 10,
                revoked: false,
                version: 0,
            },
            created_at_ms: 0,
            expires_at_ms: END,
            rotation: None,
            killed: false,
        }
    }

    fn rotated(change: impl FnOnce(&mut Rotation)) -> RefreshToken {
        let mut rotation = Rotation {
            at_ms: AT,
            successor: unseen(),
            successor_was_presented: false,
            sealed_answer: Some(Vec::new()),
            reissued: false,
        };
        change(&mut rotation);
        RefreshToken {
            rotation: Some(rotation),
            ..newest()
        }
    }

    #[track_caller]
    fn check(token: &RefreshToken, now_ms: u64, expect: Decision) {
        assert_eq!(decide(token, now_ms), expect);
    }

    #[test]
    fn the_newest_is_rotated_until_its_end() {
        check(&newest(), END - 1, Decision::Rotate);
        check(&newest(), END, Decision::Refuse);
        let mut token = newest();
        token.grant.expires_at_ms = AT;
        check(&token, AT - 1, Decision::Rotate);
        check(&token, AT, Decision::Refuse);
        token.grant.revoked = true;
        check(&token, AT - 1, Decision::Refuse);
    }

    #[test]
    fn a_rotated_one_is_repeated_for_a_minute() {
        let token = rotated(|_| {});
        check(&token, AT, Decision::Repeat);
        check(&token, AT - 5, Decision::Repeat);
        check(&token, AT + REPEAT_MS - 1, Decision::Repeat);
        check(
            &token,
            AT + REPEAT_MS,
            Decision::Replace { unseen: unseen() },
        );
        // Also when the successor went on, and when the answer is a second one.
        let token = rotated(|rotation| rotation.successor_was_presented = true);
        check(&token, AT + REPEAT_MS - 1, Decision::Repeat);
        let token = rotated(|rotation| rotation.reissued = true);
        check(&token, AT + REPEAT_MS - 1, Decision::Repeat);
    }

    #[test]
    fn a_lost_answer_is_replaced_once_and_for_a_week() {
        let token = rotated(|_| {});
        let replace = Decision::Replace { unseen: unseen() };
        check(&token, AT + REPLACE_MS - 1, replace);
        check(&token, AT + REPLACE_MS, Decision::Reuse);
        let token = rotated(|rotation| rotation.reissued = true);
        check(&token, AT + REPEAT_MS, Decision::Reuse);
        let token = rotated(|rotation| rotation.successor_was_presented = true);
        check(&token, AT + REPEAT_MS, Decision::Reuse);
    }

    #[test]
    fn a_killed_one_is_held_by_somebody_else() {
        let token = RefreshToken {
            killed: true,
            ..newest()
        };
        check(&token, AT, Decision::Reuse);
        check(&token, END, Decision::Refuse);
    }
}
