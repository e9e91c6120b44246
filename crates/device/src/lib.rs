#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod auth_file;
mod caller;
mod clock;
mod data_dir;
mod hub_client;
mod login;
mod machine_auth;
mod random;
mod refresh;

pub use auth_file::{AuthFile, AuthFileError, RefreshLock, Stored, Swapped};
pub use caller::{CallError, Caller};
pub use clock::now_ms;
pub use data_dir::{DATA_DIR_VARIABLE, NoDataDir, data_dir};
pub use hub_client::{HubClient, HubClientError, HubFailure, Reply, Streamed};
pub use login::{CLI_CLIENT, LoginError, PendingLogin, SCOPE, SignedIn};
pub use machine_auth::{MachineAuth, MachineAuthError, SignedOut, Status};
