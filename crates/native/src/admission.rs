//! How many sockets one person, and everybody together, may hold open.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use epicenter_identity::UserId;

/// Counts open sockets against `limits.max_user_connections` and `limits.max_connections`.
#[derive(Debug)]
pub(crate) struct Admission {
    max_user: usize,
    max_all: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    by_user: HashMap<UserId, usize>,
}

/// A limit has been reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) limit: usize,
}

/// One counted socket; gives its place back when dropped.
#[derive(Debug)]
pub(crate) struct Admitted {
    admission: Arc<Admission>,
    user: UserId,
}

impl Admission {
    pub(crate) fn new(max_user: usize, max_all: usize) -> Self {
        Self {
            max_user,
            max_all,
            open: Mutex::default(),
        }
    }

    pub(crate) fn admit(self: &Arc<Self>, user: &UserId) -> Result<Admitted, Refused> {
        let mut open = self.lock();
        if open.all >= self.max_all {
            return Err(Refused {
                limit: self.max_all,
            });
        }
        let of_user = open.by_user.entry(user.clone()).or_default();
        if *of_user >= self.max_user {
            return Err(Refused {
                limit: self.max_user,
            });
        }
        *of_user += 1;
        open.all += 1;
        Ok(Admitted {
            admission: Arc::clone(self),
            user: user.clone(),
        })
    }

    /// Open sockets.
    pub(crate) fn open(&self) -> usize {
        self.lock().all
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Open> {
        // Counts are changed in steps that cannot panic.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut open = self.admission.lock();
        open.all = open.all.saturating_sub(1);
        if let Some(of_user) = open.by_user.get_mut(&self.user) {
            *of_user = of_user.saturating_sub(1);
            if *of_user == 0 {
                open.by_user.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> UserId {
        UserId::parse(name).expect("a valid id")
    }

    #[test]
    fn limits_hold_for_a_user_and_for_all_and_places_come_back() {
        let admission = Arc::new(Admission::new(2, 3));
        let first = admission.admit(&user("ada"));
        let second = admission.admit(&user("ada"));
        assert!(first.is_ok() && second.is_ok());
        assert_eq!(
            admission.admit(&user("ada")).map(drop),
            Err(Refused { limit: 2 })
        );
        let third = admission.admit(&user("bob"));
        assert_eq!(
            admission.admit(&user("eve")).map(drop),
            Err(Refused { limit: 3 })
        );
        drop((first, third));
        assert!(admission.admit(&user("ada")).is_ok());
        assert_eq!(admission.lock().by_user.len(), 1, "bob is forgotten");
    }
}
