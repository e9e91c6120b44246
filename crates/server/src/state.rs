//! What every handler can reach.

use std::sync::Arc;

use epicenter_identity::Access;

use crate::ai::AiState;
use crate::auth::Authenticator;
use crate::config::HubConfig;
use crate::limits::{Kind, Limits, RetryAfter};
use crate::oauth::TokenService;
use crate::origins::TrustedOrigins;
use crate::ports::Ports;
use crate::revocations::Revocations;

/// Configuration, ports and what the hub remembers about callers; shared by all requests.
#[derive(Debug)]
pub(crate) struct HubState {
    pub(crate) config: HubConfig,
    pub(crate) ports: Ports,
    pub(crate) authenticator: Authenticator,
    pub(crate) limits: Limits,
    pub(crate) tokens: TokenService,
    pub(crate) trusted_origins: TrustedOrigins,
    pub(crate) ai: AiState,
}

/// The state as handlers extract it.
pub(crate) type SharedHub = Arc<HubState>;

impl HubState {
    pub(crate) fn new(config: HubConfig, ports: Ports) -> Self {
        let revocations = Revocations::new(ports.clock.now_ms());
        let tokens = TokenService::of_hub(&config, &ports, revocations.clone());
        let authenticator = Authenticator::new(&config, &ports, revocations);
        let limits = Limits::new(config.rate_limits.clone());
        let trusted_origins = TrustedOrigins::of(&config);
        let ai = AiState::new(&config.ai);
        Self {
            config,
            ports,
            authenticator,
            limits,
            tokens,
            trusted_origins,
            ai,
        }
    }

    /// Counts a call of the API, for the person who makes it.
    pub(crate) fn check_api_rate(&self, access: &Access) -> Result<(), RetryAfter> {
        let user = access.user().as_str();
        self.limits
            .check(Kind::Api, None, Some(user), self.now_ms())
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.ports.clock.now_ms()
    }
}
