//! What happened to accounts, tokens and calls of models.

use epicenter_server::ai::store::Outcome;
use epicenter_server::ports::{Observation, Observer};

use super::counting::{Count, Labelled, Level};

/// Counts what the server tells.
#[derive(Debug)]
pub(crate) struct IdentityStats {
    pub(super) sign_ins: Count,
    pub(super) sign_ins_refused: Labelled<6>,
    pub(super) sign_ups: Count,
    pub(super) tokens: Labelled<2>,
    pub(super) tokens_refused: Labelled<11>,
    pub(super) ai_calls: Labelled<5>,
    pub(super) ai_calls_open: Level,
    pub(super) ai_settlements_failed: Count,
}

impl Default for IdentityStats {
    fn default() -> Self {
        Self {
            sign_ins: Count::default(),
            sign_ins_refused: Labelled::new([
                "invalid_credentials",
                "setup_required",
                "passwords_off",
                "rate_limited",
                "busy",
                "unavailable",
            ]),
            sign_ups: Count::default(),
            tokens: Labelled::new(["authorization_code", "refresh_token"]),
            tokens_refused: Labelled::new([
                "invalid_request",
                "invalid_client",
                "invalid_grant",
                "invalid_scope",
                "invalid_target",
                "invalid_token",
                "unauthorized_client",
                "unsupported_grant_type",
                "access_denied",
                "temporarily_unavailable",
                "server_error",
            ]),
            ai_calls: Labelled::new(Outcome::ALL.map(Outcome::as_str)),
            ai_calls_open: Level::default(),
            ai_settlements_failed: Count::default(),
        }
    }
}

impl Observer for IdentityStats {
    fn observe(&self, observation: Observation) {
        match observation {
            Observation::SignedIn => self.sign_ins.add(1),
            Observation::SignInRefused(reason) => self.sign_ins_refused.add(reason),
            Observation::SignedUp => self.sign_ups.add(1),
            Observation::TokensIssued(grant_type) => self.tokens.add(grant_type),
            Observation::TokensRefused(error) => self.tokens_refused.add(error),
            Observation::AiCallBegan => self.ai_calls_open.rise(),
            Observation::AiCallEnded(outcome) => {
                self.ai_calls.add(outcome.as_str());
                self.ai_calls_open.fall();
            }
            Observation::AiSettlementFailed => self.ai_settlements_failed.add(1),
            Observation::AiCallTurnedAway => self.ai_calls_open.fall(),
        }
    }
}
