//! What a backup is made of: rooms, accounts and secrets of a hub, each read as of one moment.

use std::sync::Arc;

use epicenter_encryption::AuthSecret;
use epicenter_server::ports::Clock as _;
use epicenter_store::schema::MIGRATIONS;
use epicenter_store::{BackupEvent, SqlStore, StoredSigningKey};
use tokio::runtime::{self, Runtime};

use super::create::{IdentityPart, KeptSecret};
use super::error::BackupError;
use super::identity::IdentitySnapshot;
use super::manifest::{About, IdentityAbout};
use crate::admin::operator;
use crate::clock::HostClock;
use crate::config::HostConfig;
use crate::data_dir::awaited::SecretFingerprints;
use crate::data_dir::secrets::{
    AUTH_FILE, ENCRYPTION_FILE, FINGERPRINTS, FOLDER, Fingerprints, FoundSecrets,
};
use crate::data_dir::{DataDir, GivenSecrets, SecretsSource};
use crate::identity_store::{ORIGIN, StoreError};
use crate::log::export::Snapshot;
use crate::log::schema_version;
use crate::store::postgres::{OpenError, PostgresEngine, Upgrade};
use crate::store::{open_sqlite, opens_signing_key};

/// Everything that goes into a backup, each part as of one moment.
pub(super) struct Source {
    data_dir: DataDir,
    pub(super) rooms: Snapshot,
    pub(super) identity: Identity,
    pub(super) secrets: FoundSecrets,
    clock: HostClock,
    runtime: Runtime,
}

/// Where the accounts are.
pub(super) enum Identity {
    Sqlite(IdentitySnapshot),
    Postgres {
        schema: u64,
        /// None while its schema is older than this program's.
        store: Option<SqlStore>,
    },
}

impl Identity {
    pub(super) fn part(&self) -> IdentityPart {
        match self {
            Self::Sqlite(snapshot) => IdentityPart::Included {
                schema: snapshot.version(),
            },
            Self::Postgres { schema, .. } => IdentityPart::Postgres { schema: *schema },
        }
    }

    fn about(&self) -> IdentityAbout {
        match self {
            Self::Sqlite(snapshot) => IdentityAbout::Sqlite {
                schema: snapshot.version(),
            },
            Self::Postgres { schema, .. } => IdentityAbout::Postgres { schema: *schema },
        }
    }
}

impl Source {
    /// Rooms first: accounts that came a moment later are in it without rooms, and not the other way round.
    pub(super) fn open(config: &HostConfig) -> Result<Self, BackupError> {
        let data_dir = DataDir::open(&config.data_dir)?;
        let rooms = data_dir.rooms_database();
        let identity = data_dir.identity_database();
        let is_embedded = config.database_url.is_none();
        if !rooms.is_file() || (is_embedded && !identity.is_file()) {
            return Err(BackupError::NeverServed {
                path: config.data_dir.clone(),
            });
        }
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(BackupError::Start)?;
        let rooms = Snapshot::open(&rooms)?;
        let identity = match &config.database_url {
            None => Identity::Sqlite(IdentitySnapshot::open(&identity)?),
            Some(url) => runtime.block_on(open_postgres(url.expose()))?,
        };
        let given = GivenSecrets {
            encryption: config.encryption_secrets.as_ref().map(|text| text.expose()),
            auth: config.auth_secret.as_ref().map(|text| text.expose()),
        };
        let source = Self {
            secrets: data_dir.find_secrets(given)?,
            data_dir,
            rooms,
            identity,
            clock: HostClock::start(),
            runtime,
        };
        source.check_secrets()?;
        Ok(source)
    }

    /// Secrets that are not the hub's would make a backup that nobody can use.
    fn check_secrets(&self) -> Result<(), BackupError> {
        let recorded = Fingerprints::parse(&self.find_meta(FINGERPRINTS)?.unwrap_or_default());
        recorded.check_and_merge(Fingerprints::of(&self.secrets.keyring))?;
        if self.is_sealed_by(&self.secrets.auth_secret)? {
            Ok(())
        } else {
            Err(BackupError::OtherAuthSecret)
        }
    }

    fn find_meta(&self, key: &'static str) -> Result<Option<String>, BackupError> {
        Ok(match &self.identity {
            Identity::Sqlite(snapshot) => snapshot.find_meta(key)?,
            Identity::Postgres { store: None, .. } => None,
            Identity::Postgres {
                store: Some(store), ..
            } => self
                .runtime
                .block_on(store.find_meta(key))
                .map_err(StoreError::from)?,
        })
    }

    fn is_sealed_by(&self, secret: &AuthSecret) -> Result<bool, BackupError> {
        let store = match &self.identity {
            Identity::Sqlite(snapshot) => return Ok(snapshot.is_sealed_by(secret)?),
            Identity::Postgres { store: None, .. } => return Ok(true),
            Identity::Postgres {
                store: Some(store), ..
            } => store,
        };
        let keys = self
            .runtime
            .block_on(store.list_signing_keys())
            .map_err(StoreError::from)?;
        let opens = |key: &StoredSigningKey| {
            opens_signing_key(secret, &key.public.kid, &key.sealed_private)
        };
        Ok(keys.is_empty() || keys.iter().any(opens))
    }

    pub(super) fn about(&self) -> Result<About, BackupError> {
        let (lost_lines, is_directory_damaged) = self.rooms.lost_lines();
        Ok(About {
            program: env!("CARGO_PKG_VERSION").to_owned(),
            created_at: self.clock.now_ms(),
            origin: self.find_meta(ORIGIN)?,
            rooms_schema: schema_version(),
            identity: self.identity.about(),
            secrets: SecretFingerprints::of(&self.secrets.keyring, &self.secrets.auth_secret),
            lost_lines,
            is_directory_damaged,
        })
    }

    pub(super) fn kept_secrets(&self) -> Vec<KeptSecret> {
        let kept = |variable, source, file| KeptSecret {
            variable,
            file: (source != SecretsSource::Given)
                .then(|| self.data_dir.path().join(FOLDER).join(file)),
        };
        let secrets = &self.secrets;
        vec![
            kept(
                "ENCRYPTION_SECRETS",
                secrets.encryption_source,
                ENCRYPTION_FILE,
            ),
            kept("AUTH_SECRET", secrets.auth_source, AUTH_FILE),
        ]
    }

    /// Writes a line of the audit log, unless the store waits for a migration: that is the business of a start.
    pub(super) fn record(&self, event: BackupEvent) -> Result<bool, BackupError> {
        let act = operator(self.clock.now_ms());
        let opened;
        let store = match &self.identity {
            Identity::Sqlite(snapshot) if snapshot.is_current() => {
                let path = self.data_dir.identity_database();
                opened = open_sqlite(&path)?.store;
                &opened
            }
            Identity::Postgres {
                store: Some(store), ..
            } => store,
            _ => return Ok(false),
        };
        self.runtime
            .block_on(store.record_backup(event, &act))
            .map_err(StoreError::from)?;
        Ok(true)
    }
}

async fn open_postgres(url: &str) -> Result<Identity, BackupError> {
    match PostgresEngine::open(url, Upgrade::CheckOnly).await {
        Ok(engine) => Ok(Identity::Postgres {
            schema: MIGRATIONS.len() as u64,
            store: Some(SqlStore::new(Arc::new(engine))),
        }),
        Err(OpenError::Behind { found, .. }) => Ok(Identity::Postgres {
            schema: found,
            store: None,
        }),
        Err(error) => Err(error.into()),
    }
}
