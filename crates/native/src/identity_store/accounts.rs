//! Accounts: adding them from the command line, finding them.

use epicenter_identity::UserId;
use epicenter_server::ports::User;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{IdentityStore, StoreError};
use crate::password::{self, HashError, WeakPassword};
use crate::random;

/// RFC 5321 4.5.3.1.3: a path holds 256 bytes, two of them the angle brackets.
const MAX_EMAIL_BYTES: usize = 254;
const USER_ID_CHARACTERS: usize = 32;

/// An account to be made by an operator.
#[derive(Clone, Copy)]
pub struct NewUser<'a> {
    /// Folded to ASCII lower case.
    pub email: &'a str,
    /// In clear; hashed before anything is stored.
    pub password: &'a str,
    /// Display name; the part of the address before `@` when absent.
    pub name: Option<&'a str>,
    /// Operators of the hub.
    pub admin: bool,
}

impl std::fmt::Debug for NewUser<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("NewUser")
            .field("admin", &self.admin)
            .finish_non_exhaustive()
    }
}

/// Why no account was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddUserError {
    /// The address has no form that could be one.
    #[error("{0:?} is not an email address")]
    InvalidEmail(String),
    /// There is such an account.
    #[error("an account with the address {0} exists already")]
    EmailTaken(String),
    /// The first account administers the hub.
    #[error("the first account must be an administrator")]
    FirstMustBeAdmin,
    /// The password is not taken.
    #[error(transparent)]
    WeakPassword(#[from] WeakPassword),
    /// The password cannot be hashed.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl AddUserError {
    /// What to do about it, for a command's `hint:` line.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::FirstMustBeAdmin => {
                Some("add --admin: nobody else could manage this hub otherwise")
            }
            Self::InvalidEmail(_) => Some("write it as name@example.org"),
            Self::WeakPassword(_) => Some("use a long phrase that nobody else uses"),
            Self::EmailTaken(_) | Self::Hash(_) | Self::Store(_) => None,
        }
    }
}

impl IdentityStore {
    /// Makes an account, verified by the operator who makes it. Blocks for the password hash.
    ///
    /// # Errors
    /// See [`AddUserError`]; nothing is stored then.
    pub fn add_user(&self, new: &NewUser<'_>, now_ms: u64) -> Result<User, AddUserError> {
        let email = parse_email(new.email)?;
        password::check_password(new.password, &email)?;
        let hash = password::hash_password(new.password)?;
        let local_part = email.rsplit_once('@').map_or("", |(local, _)| local);
        let user = User {
            id: new_user_id()?,
            name: new.name.unwrap_or(local_part).to_owned(),
            email,
            email_verified: true,
            enabled: true,
            admin: new.admin,
        };
        self.transact(|connection| {
            if !new.admin && !has_users(connection)? {
                return Err(AddUserError::FirstMustBeAdmin);
            }
            if find_by_email(connection, &user.email)?.is_some() {
                return Err(AddUserError::EmailTaken(user.email.clone()));
            }
            insert_user(connection, &user, &hash, now_ms)?;
            Ok(())
        })?;
        Ok(user)
    }

    /// The account with this address, in any case.
    ///
    /// # Errors
    /// When the store fails.
    pub fn find_user_by_email(&self, email: &str) -> Result<Option<User>, StoreError> {
        find_by_email(&self.lock(), &email.trim().to_ascii_lowercase())
    }

    /// Whether the hub has no account yet.
    ///
    /// # Errors
    /// When the store fails.
    pub fn has_users(&self) -> Result<bool, StoreError> {
        has_users(&self.lock())
    }

    pub(super) fn find_user_by_id(&self, id: &UserId) -> Result<Option<User>, StoreError> {
        find_user(&self.lock(), "WHERE id = ?1", id.as_str())
    }
}

fn parse_email(text: &str) -> Result<String, AddUserError> {
    let email = text.trim().to_ascii_lowercase();
    let has_form = email.split_once('@').is_some_and(|(local, domain)| {
        !local.is_empty() && !domain.is_empty() && !domain.contains('@')
    });
    let is_text = !email
        .chars()
        .any(|character| character.is_whitespace() || character.is_control());
    if has_form && is_text && email.len() <= MAX_EMAIL_BYTES {
        Ok(email)
    } else {
        Err(AddUserError::InvalidEmail(text.to_owned()))
    }
}

fn new_user_id() -> Result<UserId, StoreError> {
    let text = random::alphanumeric(USER_ID_CHARACTERS)?;
    // 62^32 texts are valid; the one word that is no user id is shorter.
    UserId::parse(&text).map_err(|_| StoreError::Damaged("a new user id is invalid"))
}

fn has_users(connection: &Connection) -> Result<bool, StoreError> {
    Ok(connection.query_row("SELECT EXISTS (SELECT 1 FROM users)", [], |row| row.get(0))?)
}

fn find_by_email(connection: &Connection, email: &str) -> Result<Option<User>, StoreError> {
    find_user(connection, "WHERE email = ?1", email)
}

fn find_user(connection: &Connection, which: &str, key: &str) -> Result<Option<User>, StoreError> {
    let query = format!(
        "SELECT id, email, name, email_verified, admin, disabled_at IS NULL FROM users {which}"
    );
    connection
        .query_row(&query, [key], |row| Ok(parse_user(row)))
        .optional()?
        .transpose()
}

fn parse_user(row: &Row<'_>) -> Result<User, StoreError> {
    let id: String = row.get(0)?;
    Ok(User {
        // It was parsed before it was written.
        id: UserId::parse(&id).map_err(|_| StoreError::Damaged("a user id is invalid"))?,
        email: row.get(1)?,
        name: row.get(2)?,
        email_verified: row.get(3)?,
        admin: row.get(4)?,
        enabled: row.get(5)?,
    })
}

fn insert_user(
    connection: &Connection,
    user: &User,
    hash: &str,
    now_ms: u64,
) -> Result<(), StoreError> {
    connection.execute(
        "INSERT INTO users (id, email, name, email_verified, password_hash, admin, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            user.id.as_str(),
            user.email,
            user.name,
            user.email_verified,
            hash,
            user.admin,
            i64::try_from(now_ms)?
        ],
    )?;
    Ok(())
}
