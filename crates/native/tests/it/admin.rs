//! What operators do from beside a hub.

use epicenter_native::admin::{AdminError, Administrator, NewUser, SETUP_LINK_LIFE_MS};
use epicenter_native::data_dir::DataDir;
use epicenter_native::password::{WeakPassword, verify_password};
use epicenter_native::store::open_sqlite;
use epicenter_server::accounts::store::{Account, Accounts as _, Created, Door, NewAccount};
use epicenter_server::accounts::store::{Act, Actor};
use epicenter_server::config::PublicOrigin;
use epicenter_server::oauth::store::Grants as _;
use epicenter_server::ports::SigningKeys as _;
use epicenter_server::revocations::Subject;
use epicenter_server::secret::SecretHash;
use epicenter_store::SqlStore;
use zeroize::Zeroizing;

use crate::wait;

const PASSWORD: &str = "correct horse";

struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        DataDir::open_or_create(&directory.path().join("data")).unwrap();
        Self { directory }
    }

    fn administrator(&self) -> Administrator {
        Administrator::open(&self.directory.path().join("data")).unwrap()
    }

    fn store(&self) -> SqlStore {
        let path = self.directory.path().join("data/identity.db");
        open_sqlite(&path).unwrap().store
    }

    fn account(&self, email: &str) -> Account {
        let found = wait(self.store().find_account_by_email(email));
        found.unwrap().unwrap()
    }
}

fn password(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.to_owned())
}

fn new_user(email: &str, admin: bool) -> NewUser {
    NewUser {
        email: email.to_owned(),
        name: String::new(),
        password: password(PASSWORD),
        admin,
    }
}

#[test]
fn an_account_is_stored_verified_and_with_its_password_hashed() {
    let place = Place::new();
    let administrator = place.administrator();
    assert!(!administrator.has_users().unwrap());
    let ada = administrator
        .add_user(new_user(" Ada@Example.TEST ", true))
        .unwrap();
    assert_eq!(
        (ada.email.as_str(), ada.name.as_str()),
        ("ada@example.test", "ada")
    );
    assert!(ada.email_verified && ada.enabled && ada.admin);
    assert_eq!(ada.id.as_str().len(), 32);
    assert!(administrator.has_users().unwrap());
    assert!(administrator.has_user("ADA@example.test").unwrap());
    assert!(!administrator.has_user("bob@example.test").unwrap());
    drop(administrator);

    let stored = place.account("ada@example.test");
    assert_eq!(stored.user, ada);
    assert!(verify_password(PASSWORD, &stored.password_hash.unwrap()));
    let bob = NewUser {
        name: " Bob ".to_owned(),
        ..new_user("bob@example.test", false)
    };
    let administrator = place.administrator();
    let bob = administrator.add_user(bob).unwrap();
    assert_eq!(bob.name, "Bob");
    assert_eq!(administrator.list_users().unwrap(), [ada, bob]);
}

#[test]
fn accounts_that_cannot_be_are_refused_and_leave_nothing() {
    let place = Place::new();
    let administrator = place.administrator();
    let error = administrator
        .add_user(new_user("bob@example.test", false))
        .unwrap_err();
    assert!(matches!(error, AdminError::FirstMustBeAdmin));
    assert!(error.hint().contains("--admin"));
    assert!(!administrator.has_users().unwrap());

    administrator
        .add_user(new_user("ada@example.test", true))
        .unwrap();
    let error = administrator
        .add_user(new_user("ADA@example.test", false))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "an account with the address ada@example.test exists already"
    );
    for email in [
        "",
        "bob",
        "@example.test",
        "bob@",
        "a@b@c",
        "a b@c",
        "a\u{7}b@c",
        &format!("{}@x", "a".repeat(254)),
    ] {
        let error = administrator.add_user(new_user(email, false)).unwrap_err();
        assert!(matches!(error, AdminError::InvalidEmail(_)), "{email}");
    }
    for (text, expect) in [
        ("short", WeakPassword::TooShort),
        ("password1", WeakPassword::Trivial),
        ("carol@example.test", WeakPassword::IsAddress),
    ] {
        let carol = NewUser {
            password: password(text),
            ..new_user("carol@example.test", false)
        };
        let shown = format!("{carol:?}");
        let error = administrator.add_user(carol).unwrap_err();
        assert!(
            matches!(error, AdminError::WeakPassword(found) if found == expect),
            "{error}"
        );
        assert!(
            !format!("{error:?} {error} {shown}").contains(text),
            "a password is never shown"
        );
    }
    assert_eq!(administrator.list_users().unwrap().len(), 1);
}

#[test]
fn a_disabled_account_is_locked_until_it_is_recovered() {
    let place = Place::new();
    let administrator = place.administrator();
    let ada = administrator
        .add_user(new_user("ada@example.test", true))
        .unwrap();
    let origin = PublicOrigin::parse("https://hub.example").unwrap();
    administrator
        .mint_token("ada@example.test", 600, &origin)
        .unwrap();
    let store = place.store();
    assert_eq!(wait(store.list_grants(&ada.id, 0)).unwrap().len(), 1);

    administrator
        .set_enabled("ADA@example.test", false)
        .unwrap();
    assert!(!place.account("ada@example.test").user.enabled);
    assert!(wait(store.list_grants(&ada.id, 0)).unwrap().is_empty());
    let revoked = wait(store.revocations_since(0)).unwrap();
    assert_eq!(revoked.len(), 1);
    assert_eq!(revoked[0].subject, Subject::User(ada.id));
    let error = administrator
        .mint_token("ada@example.test", 600, &origin)
        .unwrap_err();
    assert!(matches!(error, AdminError::Disabled(_)));

    let weak = administrator.recover("ada@example.test", password("short"));
    assert!(matches!(weak, Err(AdminError::WeakPassword(_))));
    assert!(!place.account("ada@example.test").user.enabled);
    administrator
        .recover("ada@example.test", password("battery staple"))
        .unwrap();
    let account = place.account("ada@example.test");
    assert!(account.user.enabled);
    assert!(verify_password(
        "battery staple",
        &account.password_hash.unwrap()
    ));
    let nobody = administrator.set_enabled("bob@example.test", true);
    assert!(matches!(nobody, Err(AdminError::NoSuchUser(_))));
}

#[test]
fn a_new_password_ends_the_grants_of_apps() {
    let place = Place::new();
    let administrator = place.administrator();
    let ada = administrator
        .add_user(new_user("ada@example.test", true))
        .unwrap();
    let origin = PublicOrigin::parse("https://hub.example").unwrap();
    administrator
        .mint_token("ada@example.test", 600, &origin)
        .unwrap();
    let store = place.store();
    let grants = wait(store.list_grants(&ada.id, 0)).unwrap();
    assert_eq!(grants[0].resource, "https://hub.example");
    administrator
        .reset_password("ada@example.test", password("battery staple"))
        .unwrap();
    assert!(wait(store.list_grants(&ada.id, 0)).unwrap().is_empty());
    let revoked = wait(store.revocations_since(0)).unwrap();
    assert_eq!(revoked.len(), 1);
    assert_eq!(revoked[0].subject, Subject::Grant(grants[0].id.clone()));
    assert!(verify_password(
        "battery staple",
        &place.account("ada@example.test").password_hash.unwrap()
    ));
}

fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_millis().try_into().unwrap()
}

fn enter(store: &SqlStore, email: &str, door: &Door, at_ms: u64) -> Created {
    let account = NewAccount {
        id: epicenter_identity::UserId::parse(email.split_once('@').unwrap().0).unwrap(),
        email: email.to_owned(),
        email_verified: true,
        name: String::new(),
        password_hash: None,
        admin: true,
    };
    let act = Act {
        at_ms,
        actor: Actor::Nobody,
        ip: None,
    };
    wait(store.create_account(&account, door, &act)).unwrap()
}

fn setup(link: SecretHash) -> Door {
    Door::Setup { link }
}

#[test]
fn one_setup_link_makes_the_first_account_within_half_an_hour() {
    let place = Place::new();
    let administrator = place.administrator();
    let store = place.store();
    let older = administrator.new_setup_link().unwrap().hash();
    let link = administrator.new_setup_link().unwrap().hash();
    let late = now_ms() + SETUP_LINK_LIFE_MS;
    assert_eq!(
        enter(&store, "a@x", &setup(older), now_ms()),
        Created::LinkSpent
    );
    assert_eq!(enter(&store, "a@x", &setup(link), late), Created::LinkSpent);
    assert_eq!(enter(&store, "a@x", &setup(link), now_ms()), Created::Done);
    assert_eq!(
        enter(&store, "b@x", &setup(link), now_ms()),
        Created::LinkSpent
    );
    let error = administrator.new_setup_link().unwrap_err();
    assert!(matches!(error, AdminError::AlreadySetUp));
}

#[test]
fn an_invitation_is_for_one_address_and_one_account() {
    let place = Place::new();
    let administrator = place.administrator();
    administrator
        .add_user(new_user("ada@example.test", true))
        .unwrap();
    let store = place.store();
    let link = administrator
        .invite(Some(" Bob@X ".to_owned()), 60)
        .unwrap();
    let door = Door::Invitation { link: link.hash() };
    assert_eq!(enter(&store, "eve@x", &door, now_ms()), Created::LinkSpent);
    let late = now_ms() + 61_000;
    assert_eq!(enter(&store, "bob@x", &door, late), Created::LinkSpent);
    assert_eq!(enter(&store, "bob@x", &door, now_ms()), Created::Done);
    assert_eq!(enter(&store, "bob2@x", &door, now_ms()), Created::LinkSpent);
    let anybody = administrator.invite(None, 60).unwrap();
    let door = Door::Invitation {
        link: anybody.hash(),
    };
    assert_eq!(enter(&store, "bob@x", &door, now_ms()), Created::EmailTaken);
    assert_eq!(enter(&store, "eve@x", &door, now_ms()), Created::Done);
    let error = administrator.invite(Some("bob".to_owned()), 60);
    assert!(matches!(error, Err(AdminError::InvalidEmail(_))));
}

#[test]
fn rotating_adds_a_key_and_keeps_the_old_one_published() {
    let place = Place::new();
    let administrator = place.administrator();
    let kid = administrator.rotate_signing_key().unwrap();
    let keys = wait(place.store().load()).unwrap();
    assert_eq!(
        keys.len(),
        2,
        "the first one signs until the other takes over"
    );
    assert!(keys.iter().any(|key| key.kid == kid));
}
