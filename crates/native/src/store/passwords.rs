//! The port [`PasswordHasher`]: Argon2id on blocking threads, in a queue that is bounded in length, memory and cores.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use epicenter_server::ports::{HashingError, PasswordCheck, PasswordHasher, PasswordProblem};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use zeroize::Zeroizing;

use crate::password::{self, HashError, WeakPassword};

/// How many may wait: at some tens of milliseconds each, the last one waits for about as long as a person does.
const MAX_WAITING: usize = 64;

/// Hashes passwords, at most one at a time for each core, 19 MiB each.
pub struct PasswordQueue {
    /// One for each that runs or waits.
    places: Arc<Semaphore>,
    /// One for each that runs.
    cores: Arc<Semaphore>,
    /// What passwords of accounts that do not exist are compared with; made of a random password.
    dummy: Arc<str>,
}

impl fmt::Debug for PasswordQueue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PasswordQueue")
            .field("places", &self.places.available_permits())
            .finish_non_exhaustive()
    }
}

impl PasswordQueue {
    /// A queue for the cores of this machine. Blocks for one hash.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn new() -> Result<Self, HashError> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self::with(cores, MAX_WAITING)
    }

    fn with(cores: usize, waiting: usize) -> Result<Self, HashError> {
        let dummy = password::hash_password(&crate::random::alphanumeric(32)?)?;
        Ok(Self {
            places: Arc::new(Semaphore::new(cores + waiting)),
            cores: Arc::new(Semaphore::new(cores)),
            dummy: dummy.into(),
        })
    }

    /// Runs the work when a core is free. It keeps place and core until it is done, also when nobody waits for it any more:
    /// a caller who hangs up makes no room for another.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, HashingError> + Send + 'static,
    ) -> Result<T, HashingError> {
        // An acquired permit only fails when the semaphore is closed, which nobody does.
        let place = Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| HashingError::Busy)?;
        let core = Arc::clone(&self.cores)
            .acquire_owned()
            .await
            .map_err(|_| HashingError::Busy)?;
        let held: [OwnedSemaphorePermit; 2] = [place, core];
        let done = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(held);
            result
        });
        done.await.unwrap_or_else(|error| {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "hashing a password panicked"
            );
            Err(HashingError::Failed)
        })
    }
}

fn hash(password: &str) -> Result<String, HashingError> {
    password::hash_password(password).map_err(|error| {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "a password cannot be hashed"
        );
        HashingError::Failed
    })
}

fn check(password: &str, stored: Option<&str>, dummy: &str) -> PasswordCheck {
    let matches = password::verify_password(password, stored.unwrap_or(dummy));
    match stored {
        Some(stored) if matches => PasswordCheck::Right {
            // That the parameters could not be renewed is no reason to keep somebody out.
            rehashed: if password::is_current(stored) {
                None
            } else {
                hash(password).ok()
            },
        },
        _ => PasswordCheck::Wrong,
    }
}

#[async_trait]
impl PasswordHasher for PasswordQueue {
    fn check_new(&self, password: &str, email: &str) -> Result<(), PasswordProblem> {
        password::check_password(password, email).map_err(|weak| match weak {
            WeakPassword::TooShort => PasswordProblem::TooShort,
            WeakPassword::TooLong => PasswordProblem::TooLong,
            WeakPassword::Trivial | WeakPassword::IsAddress => PasswordProblem::Trivial,
        })
    }

    async fn hash(&self, password: Zeroizing<String>) -> Result<String, HashingError> {
        self.run(move || hash(&password)).await
    }

    async fn check(
        &self,
        password: Zeroizing<String>,
        stored: Option<String>,
    ) -> Result<PasswordCheck, HashingError> {
        let dummy = Arc::clone(&self.dummy);
        self.run(move || Ok(check(&password, stored.as_deref(), &dummy)))
            .await
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Waker};

    use super::*;

    fn password(text: &str) -> Zeroizing<String> {
        Zeroizing::new(text.to_owned())
    }

    /// Lets a call take its place; nobody has answered it yet.
    fn begin(call: Pin<&mut impl Future>) {
        let polled = call.poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending());
    }

    #[tokio::test]
    async fn a_password_is_right_wrong_or_of_nobody() {
        let queue = PasswordQueue::with(1, 8).unwrap();
        let hash = queue.hash(password("correct horse")).await.unwrap();
        let right = PasswordCheck::Right { rehashed: None };
        for (text, stored, expect) in [
            ("correct horse", Some(hash.clone()), right),
            ("correct horsf", Some(hash.clone()), PasswordCheck::Wrong),
            ("correct horse", None, PasswordCheck::Wrong),
            (
                "correct horse",
                Some("no hash".to_owned()),
                PasswordCheck::Wrong,
            ),
        ] {
            assert_eq!(queue.check(password(text), stored).await, Ok(expect));
        }
    }

    #[tokio::test]
    async fn old_parameters_are_renewed() {
        let queue = PasswordQueue::with(1, 8).unwrap();
        let old = password::hash_with_old_parameters("correct horse");
        assert!(!password::is_current(&old));
        let Ok(PasswordCheck::Right {
            rehashed: Some(new),
        }) = queue.check(password("correct horse"), Some(old)).await
        else {
            panic!("the password is right and its hash is old");
        };
        assert!(password::is_current(&new));
        assert!(password::verify_password("correct horse", &new));
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once_and_hanging_up_makes_no_room() {
        let queue = PasswordQueue::with(1, 2).unwrap();
        let (finish, finished) = std::sync::mpsc::channel::<()>();
        let mut running = Box::pin(queue.run(move || {
            // Ends with an error when the test drops the other half, which is as good.
            let _ = finished.recv();
            Ok(())
        }));
        begin(running.as_mut());
        let mut waiting: Vec<_> = (0..2)
            .map(|_| Box::pin(queue.hash(password("correct horse"))))
            .collect();
        for call in &mut waiting {
            begin(call.as_mut());
        }
        let refused = queue.check(password("correct horse"), None).await;
        assert_eq!(refused, Err(HashingError::Busy));

        // Those that only waited make room by leaving; the one that runs goes on holding its core.
        drop((running, waiting));
        assert_eq!(queue.cores.available_permits(), 0);
        assert_eq!(queue.places.available_permits(), 2);
        finish.send(()).unwrap();
        queue.hash(password("correct horse")).await.unwrap();
        assert_eq!(queue.places.available_permits(), 3);
    }
}
