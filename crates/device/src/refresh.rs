//! Using a refresh token that several processes share.

use epicenter_auth::{PersistedAuth, Refresh, TokenError, read_token_answer};

use crate::auth_file::Swapped;
use crate::clock::now_ms;
use crate::hub_client::HubFailure;
use crate::login::CLI_CLIENT;
use crate::machine_auth::{MachineAuth, MachineAuthError};

/// What a refresh came to.
#[derive(Debug)]
pub(crate) enum Refreshed {
    /// A newer grant, which is stored: ours, or one that another process got.
    Fresh(PersistedAuth),
    /// The hub refused the newest token that is stored.
    Refused,
    /// Nothing is stored any more.
    SignedOut,
    /// The hub could not be asked; nothing changed.
    NotNow(HubFailure),
}

impl MachineAuth {
    /// Refreshes the stored grant, or adopts the stored one without a request when it is not `ours` any more.
    pub(crate) async fn refresh_stored(
        &self,
        ours: &PersistedAuth,
    ) -> Result<Refreshed, MachineAuthError> {
        let _lock = self.file.lock().await?;
        let Some(stored) = self.file.load()?.into_auth() else {
            return Ok(Refreshed::SignedOut);
        };
        if stored.grant != ours.grant {
            return Ok(Refreshed::Fresh(stored));
        }
        let form = Refresh {
            client_id: CLI_CLIENT,
            token: &ours.grant.refresh_token,
            resource: self.hub().as_str(),
        }
        .form();
        let endpoint = self.hub().token_endpoint();
        let reply = match self.client.post_form(&endpoint, &form).await {
            Ok(reply) => reply,
            Err(why) => return Ok(Refreshed::NotNow(why)),
        };
        let answer = match read_token_answer(reply.status, &reply.body, now_ms()) {
            Ok(answer) => answer,
            Err(error) => return self.refused(ours, &error),
        };
        let Some(grant) = answer.into_grant(Some(&ours.grant.refresh_token)) else {
            return Ok(Refreshed::Refused);
        };
        let fresh = PersistedAuth { grant, ..stored };
        // Stored before it is used: whoever dies in between leaves the newest token behind.
        Ok(match self.file.swap(&ours.grant, Some(&fresh))? {
            Swapped::Done => Refreshed::Fresh(fresh),
            Swapped::Changed(other) => Refreshed::Fresh(other),
            Swapped::Gone => {
                // Somebody signed out meanwhile and may not have reached the hub; the file stays away either way.
                let _ = self.revoke(&fresh.grant.refresh_token).await;
                Refreshed::SignedOut
            }
        })
    }

    /// A refusal counts only when the refused token is still the stored one: a program that does not take the lock may
    /// have rotated it.
    fn refused(
        &self,
        ours: &PersistedAuth,
        error: &TokenError,
    ) -> Result<Refreshed, MachineAuthError> {
        if let Some(why) = HubFailure::of_token_error(error) {
            return Ok(Refreshed::NotNow(why));
        }
        Ok(match self.file.load()?.into_auth() {
            None => Refreshed::SignedOut,
            Some(stored) if stored.grant != ours.grant => Refreshed::Fresh(stored),
            Some(_) => Refreshed::Refused,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use epicenter_auth::{HubUrl, OAuthErrorCode};
    use tempfile::TempDir;

    use super::*;

    fn auth(refresh_token: &str) -> PersistedAuth {
        PersistedAuth::parse(&format!(
            r#"{{"grant":{{"accessToken":"a","refreshToken":"{refresh_token}","accessTokenExpiresAt":1}},"userId":"u1","ownerId":"u1","keyring":[]}}"#
        ))
        .expect("a record")
    }

    /// At an address where nobody listens: whatever is sent fails.
    fn machine(place: &TempDir) -> MachineAuth {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let hub = HubUrl::parse(&format!("http://{address}")).expect("an address");
        MachineAuth::new(hub, place.path()).expect("a client")
    }

    fn refresh(machine: &MachineAuth, ours: &PersistedAuth) -> Refreshed {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
            .block_on(machine.refresh_stored(ours))
            .expect("a usable file")
    }

    #[test]
    fn a_newer_grant_is_adopted_and_nothing_is_sent() {
        let place = TempDir::new().expect("a temporary folder");
        let machine = machine(&place);
        machine.file.put(&auth("new")).expect("it is stored");
        let refreshed = refresh(&machine, &auth("old"));
        assert!(matches!(refreshed, Refreshed::Fresh(fresh) if fresh == auth("new")));

        let refreshed = refresh(&machine, &auth("new"));
        assert!(
            matches!(refreshed, Refreshed::NotNow(_)),
            "this one had to be sent"
        );
    }

    #[test]
    fn after_a_sign_out_nothing_is_sent() {
        let place = TempDir::new().expect("a temporary folder");
        let machine = machine(&place);
        assert!(matches!(
            refresh(&machine, &auth("old")),
            Refreshed::SignedOut
        ));
        assert!(!machine.file.path().exists());
    }

    #[test]
    fn a_refusal_is_held_against_what_is_stored_by_now() {
        let place = TempDir::new().expect("a temporary folder");
        let machine = machine(&place);
        let refusal = TokenError::Refused {
            code: OAuthErrorCode::InvalidGrant,
        };
        let check = || {
            machine
                .refused(&auth("ours"), &refusal)
                .expect("a usable file")
        };
        assert!(matches!(check(), Refreshed::SignedOut));
        machine.file.put(&auth("ours")).expect("it is stored");
        assert!(matches!(check(), Refreshed::Refused));
        machine.file.put(&auth("newer")).expect("it is stored");
        assert!(matches!(check(), Refreshed::Fresh(fresh) if fresh == auth("newer")));
    }
}
