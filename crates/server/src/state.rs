//! What every handler can reach.

use std::sync::Arc;

use crate::auth::Authenticator;
use crate::config::HubConfig;
use crate::limits::Limits;
use crate::oauth::TokenService;
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
}

/// The state as handlers extract it.
pub(crate) type SharedHub = Arc<HubState>;

impl HubState {
    pub(crate) fn new(config: HubConfig, ports: Ports) -> Self {
        let revocations = Revocations::new(ports.clock.now_ms());
        let tokens = TokenService::of_hub(&config, &ports, revocations.clone());
        let authenticator = Authenticator::new(&config, &ports, revocations);
        let limits = Limits::new(config.rate_limits.clone());
        Self {
            config,
            ports,
            authenticator,
            limits,
            tokens,
        }
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.ports.clock.now_ms()
    }
}
