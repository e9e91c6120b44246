//! The names of every error that the hub's HTTP interface and its upgrades answer with.
//!
//! Clients match on names, so the list only grows: a name, once released, keeps its spelling and status.

/// Declares the names and everything that hangs on a name, one row each.
macro_rules! error_names {
    ($(
        $(#[doc = $doc:literal])+
        $variant:ident = $name:literal, $code:literal, $status:literal, $close:literal, $message:literal;
    )+) => {
        /// The stable name of an error, with the status, close code and advice that belong to it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorName {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl ErrorName {
            /// Every name, in the order in which they were added.
            pub const ALL: &'static [ErrorName] = &[$(ErrorName::$variant),+];

            /// The name as it stands in the envelope.
            pub fn as_str(self) -> &'static str {
                match self { $(ErrorName::$variant => $name,)+ }
            }

            /// The name in snake case: what the clients of today look for in close reasons.
            pub fn code(self) -> &'static str {
                match self { $(ErrorName::$variant => $code,)+ }
            }

            /// The HTTP status.
            pub fn status(self) -> u16 {
                match self { $(ErrorName::$variant => $status,)+ }
            }

            /// The code that closes a socket for this reason (sync.md 5).
            pub fn close_code(self) -> u16 {
                match self { $(ErrorName::$variant => $close,)+ }
            }

            /// What happened and what to do next, for a person.
            pub fn message(self) -> &'static str {
                match self { $(ErrorName::$variant => $message,)+ }
            }
        }
    };
}

error_names! {
    /// The bearer is missing, malformed, expired, revoked or signed by somebody else.
    InvalidToken = "InvalidToken", "invalid_token", 401, 4401,
        "The access token is missing, malformed, expired or revoked. Refresh it or sign in again.";
    /// Tokens cannot be checked because the signing keys or the revocation feed cannot be had.
    ServerError = "ServerError", "server_error", 503, 4503,
        "Access tokens cannot be verified at the moment. Try again shortly; the token may still be good.";
    /// More than one credential.
    MultipleCredentials = "MultipleCredentials", "multiple_credentials", 400, 4400,
        "The request carries more than one credential. Send either the session cookie or one bearer token.";
    /// The owner in the path is not the caller's.
    OwnerMismatch = "OwnerMismatch", "owner_mismatch", 403, 4403,
        "The owner in the URL is not the one you act for. Use the ownerId that /api/session returns.";
    /// The shared hub does not admit this person.
    NotAdmitted = "NotAdmitted", "not_admitted", 403, 4403,
        "This shared hub does not admit your account. Ask its operator to list your verified address or its domain.";
    /// The token lacks a scope (RFC 6750 section 3.1, hence the spelling).
    InsufficientScope = "insufficient_scope", "insufficient_scope", 403, 4403,
        "The access token lacks a scope that this needs. Sign in again and grant it.";
    /// An upgrade without `deviceId`.
    MissingDeviceId = "MissingDeviceId", "missing_device_id", 400, 4400,
        "The upgrade lacks the deviceId query parameter. Send a stable id for this device.";
    /// A `deviceId` that breaks the rule.
    InvalidDeviceId = "InvalidDeviceId", "invalid_device_id", 400, 4400,
        "The deviceId is not valid. Use 1 to 128 bytes of UTF-8 without control characters, '/', '?' and '#'.";
    /// A room id that breaks the rule.
    InvalidRoomId = "InvalidRoomId", "invalid_room_id", 400, 4400,
        "The room id is not valid. Use 1 to 256 bytes of percent-encoded UTF-8 without control characters.";
    /// The device id belongs to another user of the shared owner.
    DeviceTaken = "DeviceTaken", "device_taken", 403, 4400,
        "The deviceId belongs to another user of this hub. Make a new id for this device.";
    /// `PUT` on a room that lives.
    RoomExists = "RoomExists", "room_exists", 409, 4400,
        "The room exists already. Use it, or delete it first.";
    /// The room was deleted and not restored or created anew.
    RoomDeleted = "RoomDeleted", "room_deleted", 410, 4410,
        "The room was deleted and stays so. While the hub keeps what was in it, POST to its /restore brings it back; PUT creates it anew, empty.";
    /// A sync body that is no state vector and update.
    MalformedSyncBody = "MalformedSyncBody", "malformed_sync_body", 400, 4400,
        "The sync body is malformed. Send a length-prefixed state vector, then a length-prefixed Yjs V2 update or a zero byte.";
    /// A body or frame over the limit.
    PayloadTooLarge = "PayloadTooLarge", "payload_too_large", 413, 1009,
        "The request body is larger than this route takes. Send less at once, or ask the operator whether the limit can be raised.";
    /// An update that Yjs can read and the hub does not take.
    UpdateRefused = "UpdateRefused", "update_refused", 422, 1007,
        "The update exceeds a limit of this hub and was not stored. The operator can raise the limit that is named.";
    /// Out of bytes or rooms.
    QuotaExceeded = "QuotaExceeded", "quota_exceeded", 507, 1013,
        "The quota is used up. Delete rooms you no longer need, or ask the operator for more.";
    /// The store failed; nothing was acknowledged.
    StorageUnavailable = "StorageUnavailable", "storage_unavailable", 503, 1013,
        "The hub cannot reach its storage at the moment. Nothing was lost; try again shortly.";
    /// A dispatch body that breaks the rule.
    MalformedDispatch = "MalformedDispatch", "malformed_dispatch", 400, 4400,
        "The dispatch body is malformed. Send {\"to\": deviceId, \"action\": name, \"input\"?: any}, the name matching ^[a-z][a-z0-9_]{0,63}$.";
    /// Any other request that cannot be understood.
    InvalidRequest = "InvalidRequest", "invalid_request", 400, 4400,
        "The request is not valid. Check its path, query and body.";
    /// No such route.
    NotFound = "NotFound", "not_found", 404, 4400,
        "There is nothing at this path. Check it for a typing error.";
    /// The route exists, the method does not.
    MethodNotAllowed = "MethodNotAllowed", "method_not_allowed", 405, 4400,
        "The method is not allowed here. The Allow header lists those that are.";
    /// The `Host` is not the hub's.
    MisdirectedRequest = "MisdirectedRequest", "misdirected_request", 421, 4400,
        "The Host header is not this hub's. Use its public origin, or have the proxy pass the Host header on.";
    /// A broken WebSocket handshake.
    MalformedUpgrade = "MalformedUpgrade", "malformed_upgrade", 400, 4400,
        "The WebSocket handshake is malformed. Send a version 13 upgrade with a Sec-WebSocket-Key (RFC 6455).";
    /// The route needs an upgrade, or another WebSocket version.
    UpgradeRequired = "UpgradeRequired", "upgrade_required", 426, 4400,
        "This needs a WebSocket of version 13. Connect with a WebSocket client.";
    /// Too many requests.
    RateLimited = "RateLimited", "rate_limited", 429, 1008,
        "There were too many requests. Wait for the time that Retry-After names.";
    /// The hub took too long.
    Timeout = "Timeout", "timeout", 503, 1013,
        "The hub took too long to answer. Try again shortly.";
    /// The client took too long to send its request.
    RequestTimeout = "RequestTimeout", "request_timeout", 408, 1008,
        "The request did not arrive in time. Send it again over a better connection, or send less at once.";
    /// A fault of the hub.
    InternalError = "InternalError", "internal_error", 500, 1013,
        "Something went wrong in the hub. Try again; if it stays, give the operator the X-Request-Id of this answer.";
    /// A state-changing request from a foreign page.
    ForbiddenOrigin = "ForbiddenOrigin", "forbidden_origin", 403, 4403,
        "The Origin header is missing or not trusted. Ask the operator to list the origin under trusted_origins.";
    /// Rooms are served by another process.
    WrongHub = "WrongHub", "wrong_hub", 421, 1013,
        "This process does not serve rooms. Send the request to the url that is named.";
    /// The hub stops or restarts.
    ShuttingDown = "ShuttingDown", "shutting_down", 503, 1001,
        "The hub is shutting down. Try again shortly.";
    /// More sockets than a device, user, room or hub may have.
    TooManyConnections = "TooManyConnections", "too_many_connections", 429, 1008,
        "There are too many open connections. Close some, or ask the operator to raise the limit.";
    /// No key for the provider.
    ProviderNotConfigured = "ProviderNotConfigured", "provider_not_configured", 503, 1013,
        "The hub has no key for this provider. Choose another provider, or ask the operator.";
    /// A model that the hub or its provider does not know.
    UnknownModel = "UnknownModel", "unknown_model", 400, 4400,
        "The model is not known. Choose one that GET /api/ai/models lists.";
    /// A key of the caller's for a provider that takes none.
    OwnKeyNotAllowed = "OwnKeyNotAllowed", "own_key_not_allowed", 400, 4400,
        "This provider takes no key of your own here. Leave apiKey out, or choose another provider.";
    /// The provider failed or was not heard.
    ProviderUnavailable = "ProviderUnavailable", "provider_unavailable", 502, 1013,
        "The provider does not answer at the moment. Try again shortly, or choose another model.";
    /// The provider has had enough.
    ProviderRateLimited = "ProviderRateLimited", "provider_rate_limited", 429, 1013,
        "The provider limits how much may be asked. Try again shortly, or choose another model.";
    /// Too few credits.
    InsufficientCredits = "InsufficientCredits", "insufficient_credits", 402, 4403,
        "Your credits do not suffice for this call. Get more, or choose a cheaper model.";
    /// A call that only paid accounts may make.
    ModelRequiresPaidPlan = "ModelRequiresPaidPlan", "model_requires_paid_plan", 403, 4403,
        "This call costs more than an unpaid account may spend at once. Choose a cheaper model or a paid plan.";
}

impl ErrorName {
    /// Whether clients of today read this error flat, so that the answer carries both forms (http.md).
    pub fn is_read_flat(self) -> bool {
        matches!(self, ErrorName::InvalidToken | ErrorName::ServerError)
    }
}
