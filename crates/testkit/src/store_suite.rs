//! What every identity store must do, whatever it keeps its rows in: one case for each promise of the server's ports.
//!
//! A new store is one more caller of [`run`]. Cases that are about races start several calls on several threads.

mod accounts;
mod ai;
mod fixtures;
mod grants;
mod refresh;
mod sessions;

use std::sync::Arc;

use async_trait::async_trait;
use epicenter_server::accounts::store::{Accounts, Act, Sessions};
use epicenter_server::ai::store::{CreditStore, UsageLog, UsageRow};
use epicenter_server::oauth::store::Grants;
use epicenter_server::ports::{Devices, Users};
use epicenter_server::revocations::Revocation;
use epicenter_store::memory::MemoryStore;
use epicenter_store::{Gift, Given, SqlStore};

/// A store, and what tests see beside its ports.
#[async_trait]
pub trait StoreUnderTest:
    Accounts + Sessions + Grants + Users + Devices + UsageLog + CreditStore + 'static
{
    /// The feed after a position.
    async fn revocations_after(&self, seq: u64) -> Vec<Revocation>;

    /// How many lines the audit log has.
    async fn audit_lines(&self) -> usize;

    /// Calls of AI models, the oldest first.
    async fn usage_rows(&self) -> Vec<UsageRow>;

    /// Gives credits as an operator.
    async fn give(&self, gift: &Gift, act: &Act) -> Given;
}

#[async_trait]
impl StoreUnderTest for MemoryStore {
    async fn revocations_after(&self, seq: u64) -> Vec<Revocation> {
        self.revocations_since(seq).expect("the store works")
    }

    async fn audit_lines(&self) -> usize {
        self.audit().len()
    }

    async fn usage_rows(&self) -> Vec<UsageRow> {
        self.usage()
    }

    async fn give(&self, gift: &Gift, act: &Act) -> Given {
        self.give_credits(gift, act).expect("the store works")
    }
}

#[async_trait]
impl StoreUnderTest for SqlStore {
    async fn revocations_after(&self, seq: u64) -> Vec<Revocation> {
        self.revocations_since(seq).await.expect("the store works")
    }

    async fn audit_lines(&self) -> usize {
        let lines = self.list_audit(0, 100_000).await;
        lines.expect("the store works").len()
    }

    async fn usage_rows(&self) -> Vec<UsageRow> {
        let mut rows = self.list_usage(1_000).await.expect("the store works");
        rows.reverse();
        rows
    }

    async fn give(&self, gift: &Gift, act: &Act) -> Given {
        let given = self.give_credits(gift, act).await;
        given.expect("the store works")
    }
}

/// Runs every case, each on a store that `make` has just made. Needs a runtime with several threads.
pub async fn run<S: StoreUnderTest>(make: impl AsyncFn() -> S) {
    macro_rules! cases {
        ($($module:ident: $($case:ident)*;)*) => {
            $($(
                // Named when it begins: a failure speaks of values only.
                eprintln!("store: {}::{}", stringify!($module), stringify!($case));
                $module::$case(Arc::new(make().await)).await;
            )*)*
        };
    }
    cases! {
        accounts:
            the_first_account_is_an_administrator
            setup_spends_the_current_link
            setup_is_over_with_the_first_account
            two_setups_at_once_make_one_account
            two_sign_ups_with_one_address_make_one_account
            an_invitation_is_for_one_account_and_its_address
            one_invitation_used_many_times_at_once_makes_one_account
            signing_up_needs_a_first_account
            accounts_are_found_and_listed
            a_password_change_ends_other_sessions
            a_password_change_ends_grants_when_asked
            a_rehash_replaces_only_what_was_read
            disabling_ends_everything
            what_is_observed_is_written_down;
        sessions:
            a_session_begins_and_replaces_the_browsers_last
            nobody_begins_a_session_for_a_disabled_account
            an_expired_session_is_not_there
            sessions_are_listed_newest_first
            nobody_ends_anothers_session
            signing_out_elsewhere_keeps_this_session_and_grants
            signing_out_everywhere_ends_grants_and_codes
            a_sign_in_beside_a_disabling_leaves_no_session
            a_device_belongs_to_who_used_it_first
            one_of_many_claims_to_a_device_wins;
        grants:
            a_code_is_redeemed_once
            many_redemptions_at_once_make_one_grant
            a_disabled_accounts_code_is_gone
            a_redemption_beside_a_disabling_leaves_no_living_grant
            a_redemption_beside_signing_out_everywhere_leaves_no_living_grant
            grants_are_listed_newest_first
            a_grant_ends_once_and_is_told
            revocations_are_told_in_their_order
            consent_adds_up;
        refresh:
            a_rotation_is_seen_from_both_ends
            a_rotation_may_narrow_for_good
            of_two_rotations_of_one_version_one_is_done
            many_rotations_at_once_are_done_once
            nothing_rotates_under_a_revoked_grant
            nothing_rotates_for_a_disabled_account
            a_lost_answer_is_replaced
            a_rotation_beside_a_revocation_leaves_no_living_grant;
        ai:
            usage_is_kept_as_it_was
            credits_are_held_paid_and_freed
            an_expired_reservation_is_free_and_paid_all_the_same
            many_reservations_at_once_hold_no_more_than_there_is
            one_of_many_confirmations_pays
            gifts_add_up_and_are_written_down
            gifts_end_before_a_column_does
            gifts_at_once_are_all_given;
    }
}
