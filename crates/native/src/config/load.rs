//! Puts the sources together: defaults, file, environment, flags, in this order.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use epicenter_server::ai::settings::ProviderKey;
use epicenter_server::config::{Authority, PublicOrigin};
use epicenter_server::oauth::clients::{built_in, first_party_apps};

use super::secrets::{self, Secret};
use super::settings::{Draft, PERSONAL, SETTINGS, Setting};
use super::tables::{Fields, TableList};
use super::value::{Problem, Value, assign};
use super::{AdminListen, ConfigError, DEFAULT_FILE, HostConfig, Mode, ai, clients, file};
use crate::peer::{Network, TrustedProxies};

/// What the command line says.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--listen`
    pub listen: Option<String>,
    /// `--data-dir`
    pub data_dir: Option<PathBuf>,
    /// `--public-origin`
    pub public_origin: Option<String>,
    /// `--config`
    pub config: Option<PathBuf>,
    /// `--admin-listen`
    pub admin_listen: Option<String>,
    /// `--log`
    pub log: Option<String>,
}

impl Flags {
    fn value(&self, flag: &str) -> Option<String> {
        match flag {
            "--listen" => self.listen.clone(),
            "--public-origin" => self.public_origin.clone(),
            "--admin-listen" => self.admin_listen.clone(),
            "--log" => self.log.clone(),
            _ => None,
        }
    }
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nobody set it.
    Default,
    /// A line of the configuration file.
    File {
        /// The file as it was named.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// An environment variable.
    Environment(&'static str),
    /// A flag.
    Flag(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => formatter.write_str("default"),
            Self::File { path, line } => write!(formatter, "{}:{line}", path.display()),
            Self::Environment(variable) => write!(formatter, "from {variable}"),
            Self::Flag(flag) => write!(formatter, "from {flag}"),
        }
    }
}

/// Where each value comes from, by key.
pub type Sources = BTreeMap<&'static str, Source>;

/// A checked configuration and the origin of its values.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: HostConfig,
    /// Settings that no source names are absent.
    pub sources: Sources,
}

/// The environment as the loader sees it: a look-up, so that tests need not change their process.
pub(super) struct Environment<'e> {
    look_up: &'e dyn Fn(&str) -> Option<OsString>,
}

impl Environment<'_> {
    /// The text of a variable that is set.
    fn text(&self, variable: &'static str) -> Result<Option<String>, ConfigError> {
        let Some(value) = (self.look_up)(variable) else {
            return Ok(None);
        };
        let invalid = |problem: &str| ConfigError::Invalid {
            setting: variable,
            origin: Source::Environment(variable),
            problem: problem.to_owned(),
            fix: format!("give it a value, or unset {variable}"),
        };
        // The text itself is left out of the error: it may be a secret.
        let text = value.into_string().map_err(|_| invalid("is not UTF-8"))?;
        if text.trim().is_empty() {
            return Err(invalid("is set but empty"));
        }
        Ok(Some(text))
    }

    /// The one variable of several names that is set; two with different values contradict each other.
    pub(super) fn first_of(
        &self,
        variables: &'static [&'static str],
    ) -> Result<Option<(&'static str, String)>, ConfigError> {
        let mut found: Option<(&'static str, String)> = None;
        for variable in variables {
            match (self.text(variable)?, &found) {
                (Some(text), Some((first, other))) if text != *other => {
                    return Err(ConfigError::Conflict {
                        first,
                        second: variable,
                    });
                }
                (Some(text), None) => found = Some((variable, text)),
                _ => {}
            }
        }
        Ok(found)
    }
}

/// Loads the configuration of a process: its working directory is `working_dir` and `look_up` reads its environment.
///
/// # Errors
/// The first thing that is wrong, in the order of the sources.
pub fn load(
    flags: &Flags,
    look_up: &dyn Fn(&str) -> Option<OsString>,
    working_dir: &Path,
) -> Result<Loaded, ConfigError> {
    let environment = Environment { look_up };
    let mut loader = Loader {
        draft: Draft::new(),
        sources: Sources::new(),
    };
    loader.apply_file(flags, &environment, working_dir)?;
    loader.apply_environment(&environment, working_dir)?;
    loader.apply_flags(flags, working_dir)?;
    loader.finish(&environment)
}

struct Loader {
    draft: Draft,
    sources: Sources,
}

impl Loader {
    fn apply_file(
        &mut self,
        flags: &Flags,
        environment: &Environment<'_>,
        working_dir: &Path,
    ) -> Result<(), ConfigError> {
        let named = match &flags.config {
            Some(path) => Some(path.clone()),
            None => environment.text("EPICENTER_CONFIG")?.map(PathBuf::from),
        };
        let shown = named.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
        let path = working_dir.join(&shown);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(());
            }
            Err(source) => {
                return Err(ConfigError::Unreadable {
                    path: shown,
                    source,
                });
            }
        };
        let base = path.parent().unwrap_or(working_dir);
        let content = file::parse(&shown, &text)?;
        for table in content.tables {
            let origin = Source::File {
                path: shown.clone(),
                line: table.line,
            };
            self.sources.insert(table.list.key, origin);
            self.add_table(table.list, table.fields, base)
                .map_err(|Problem { problem, fix }| self.invalid(table.list.key, &problem, &fix))?;
        }
        for entry in content.entries {
            let origin = Source::File {
                path: shown.clone(),
                line: entry.line,
            };
            self.set(entry.setting, entry.value, origin, base)?;
        }
        Ok(())
    }

    fn add_table(
        &mut self,
        list: &'static TableList,
        fields: Fields,
        base: &Path,
    ) -> Result<(), Problem> {
        if list.key == ai::PROVIDERS.key {
            let endpoint = ai::parse_endpoint(fields, base)?;
            self.draft.ai_endpoints.push(endpoint);
        } else if list.key == ai::MODELS.key {
            self.draft.host.ai.models.push(ai::parse_model(fields)?);
        } else {
            let client = clients::parse(fields)?;
            self.draft.host.oauth.clients.push(client);
        }
        Ok(())
    }

    fn apply_environment(
        &mut self,
        environment: &Environment<'_>,
        base: &Path,
    ) -> Result<(), ConfigError> {
        for setting in SETTINGS {
            if let Some((variable, text)) = environment.first_of(setting.environment)? {
                self.set(
                    setting,
                    Value::Text(text),
                    Source::Environment(variable),
                    base,
                )?;
            }
        }
        Ok(())
    }

    fn apply_flags(&mut self, flags: &Flags, working_dir: &Path) -> Result<(), ConfigError> {
        for setting in SETTINGS {
            let Some(flag) = setting.flag else { continue };
            if let Some(text) = flags.value(flag) {
                self.set(setting, Value::Text(text), Source::Flag(flag), working_dir)?;
            }
        }
        // A path need not be UTF-8, so it does not travel as text.
        if let Some(path) = &flags.data_dir {
            self.draft.data_dir = Some(working_dir.join(path));
            self.sources.insert("data_dir", Source::Flag("--data-dir"));
        }
        Ok(())
    }

    fn set(
        &mut self,
        setting: &'static Setting,
        value: Value,
        origin: Source,
        base: &Path,
    ) -> Result<(), ConfigError> {
        match assign((setting.slot)(&mut self.draft), value, base) {
            Ok(()) => {
                self.sources.insert(setting.key, origin);
                Ok(())
            }
            Err(Problem { problem, fix }) => Err(ConfigError::Invalid {
                setting: setting.key,
                origin,
                problem,
                fix,
            }),
        }
    }

    fn finish(mut self, environment: &Environment<'_>) -> Result<Loaded, ConfigError> {
        let mut ai_keys = [const { ProviderKey::Missing }; 3];
        for secret in [
            Secret::Encryption,
            Secret::Auth,
            Secret::Database,
            Secret::Ai(0),
            Secret::Ai(1),
            Secret::Ai(2),
        ] {
            let file = match secret {
                Secret::Encryption => self.draft.encryption_secrets_file.take(),
                Secret::Auth => self.draft.auth_secret_file.take(),
                Secret::Database => self.draft.database_url_file.take(),
                Secret::Ai(place) => self.draft.ai_key_files[place].take(),
            };
            let origin = self.sources.remove(secret.file_key());
            let Some((text, origin)) = secrets::read(secret, environment, file.zip(origin))? else {
                continue;
            };
            self.sources.insert(secret.file_key(), origin);
            match secret {
                Secret::Encryption => self.draft.host.encryption_secrets = Some(text),
                Secret::Auth => self.draft.host.auth_secret = Some(text),
                Secret::Database => self.draft.host.database_url = Some(text),
                Secret::Ai(place) => {
                    let key = epicenter_server::secret::Secret::presented(text.expose());
                    ai_keys[place] = ProviderKey::Held(key);
                }
            }
        }
        self.open_ai_providers(ai_keys, environment)?;
        self.check_pairs()?;
        self.check_origins()?;
        self.check_admin_hosts()?;
        self.check_clients()?;
        let trusted_proxies = self.trusted_proxies()?;
        let mode = self.mode()?;
        let data_dir = match self.draft.data_dir.take() {
            Some(path) => path,
            None => default_data_dir(environment)?,
        };
        let mut config = self.draft.host.clone();
        config.data_dir = data_dir;
        config.log.format = self.draft.log_format();
        config.trusted_proxies = trusted_proxies;
        config.accounts.sign_up = self.draft.sign_up();
        config.engine.compaction.collect = self.draft.compaction();
        config.admin.listen = self.admin_listen();
        config.set_mode(mode);
        Ok(Loaded {
            config,
            sources: self.sources,
        })
    }

    /// What somebody asked for must be had.
    fn admin_listen(&self) -> AdminListen {
        match self.draft.admin_listen {
            None => AdminListen::Off,
            Some(address) if self.sources.contains_key("admin.listen") => AdminListen::At(address),
            Some(address) => AdminListen::IfFree(address),
        }
    }

    /// The built-in providers and those of the file, all with their keys.
    fn open_ai_providers(
        &mut self,
        keys: [ProviderKey; 3],
        environment: &Environment<'_>,
    ) -> Result<(), ConfigError> {
        let urls = &self.draft.ai_base_urls;
        let built_in = keys.into_iter().zip(urls).enumerate();
        let mut providers: Vec<_> = built_in
            .map(|(place, (key, url))| ai::built_in_at(place, url, key))
            .collect();
        for endpoint in std::mem::take(&mut self.draft.ai_endpoints) {
            let look_up = |variable: &str| (environment.look_up)(variable)?.into_string().ok();
            let opened = endpoint.open(look_up).map_err(|Problem { problem, fix }| {
                self.invalid(ai::PROVIDERS.key, &problem, &fix)
            })?;
            providers.push(opened);
        }
        self.draft.host.ai.providers = providers;
        ai::check(&self.draft.host.ai)
            .map_err(|(list, Problem { problem, fix })| self.invalid(list.key, &problem, &fix))
    }

    /// The mode, with the settings that only one of the two has.
    fn mode(&self) -> Result<Mode, ConfigError> {
        if self.draft.mode == PERSONAL {
            return match self.sources.iter().find(|(key, _)| key.starts_with("shared.")) {
                None => Ok(Mode::Personal),
                Some((key, _)) => Err(self.invalid(
                    key,
                    "has no meaning in personal mode",
                    "write mode = \"shared\" above the first section, or remove the section [shared]",
                )),
            };
        }
        if self.draft.admit.emails.is_empty() && self.draft.admit.domains.is_empty() {
            return Err(self.invalid(
                "mode",
                "is \"shared\", but nobody is admitted",
                "name who is: [shared] admit = { emails = [\"ada@example.org\"], domains = [\"example.org\"] }",
            ));
        }
        for (key, entries, wants_at) in [
            ("shared.admit.emails", &self.draft.admit.emails, true),
            ("shared.admit.domains", &self.draft.admit.domains, false),
        ] {
            if let Some(entry) = entries.iter().find(|entry| entry.contains('@') != wants_at) {
                return Err(self.invalid(
                    key,
                    &format!("cannot hold {entry:?}"),
                    "emails look like \"ada@example.org\", domains like \"example.org\"",
                ));
            }
        }
        Ok(Mode::Shared {
            admit: self.draft.admit.clone(),
            cross_user_dispatch: self.draft.cross_user_dispatch,
        })
    }

    fn check_origins(&self) -> Result<(), ConfigError> {
        let is_origin = |text: &String| {
            let parts = text.split_once("://");
            parts.is_some_and(|(scheme, host)| {
                let is_plain = |byte: u8| {
                    byte.is_ascii_lowercase()
                        || byte.is_ascii_digit()
                        || matches!(byte, b'.' | b'-' | b':' | b'[' | b']' | b'_')
                };
                !scheme.is_empty()
                    && scheme
                        .bytes()
                        .all(|byte| byte.is_ascii_lowercase() || byte == b'-')
                    && !host.is_empty()
                    && host.bytes().all(is_plain)
            })
        };
        let origins = &self.draft.host.trusted_origins;
        match origins.iter().find(|origin| !is_origin(origin)) {
            None => Ok(()),
            Some(origin) => Err(self.invalid(
                "trusted_origins",
                &format!("cannot hold {origin:?}"),
                "write each as browsers do: scheme, host in lower case and optional port, without a path or a wildcard, such as \"https://app.example\"",
            )),
        }
    }

    fn check_admin_hosts(&self) -> Result<(), ConfigError> {
        let is_host = |text: &&String| {
            Authority::parse(text).is_some_and(|name| name.host().eq_ignore_ascii_case(text))
        };
        let hosts = &self.draft.host.admin.hosts;
        match hosts.iter().find(|host| !is_host(host)) {
            None => Ok(()),
            Some(host) => Err(self.invalid(
                "admin.hosts",
                &format!("cannot hold {host:?}"),
                "write names without scheme, port and path, such as \"hub.internal\"",
            )),
        }
    }

    fn trusted_proxies(&self) -> Result<TrustedProxies, ConfigError> {
        let networks = self.draft.trusted_proxies.iter().map(|text| {
            Network::parse(text).ok_or_else(|| {
                self.invalid(
                    "trusted_proxies",
                    &format!("cannot hold {text:?}"),
                    "write addresses or networks, such as \"127.0.0.1\" or \"10.0.0.0/8\"",
                )
            })
        });
        Ok(TrustedProxies {
            networks: networks.collect::<Result<_, _>>()?,
            header: self.draft.proxy_header(),
        })
    }

    /// Ids must differ, also from those of the clients that come with the hub.
    fn check_clients(&self) -> Result<(), ConfigError> {
        // The ids of those do not hang on the origin.
        let any = PublicOrigin::parse("http://127.0.0.1").ok();
        let mut own = any.as_ref().map(built_in).unwrap_or_default();
        if self.draft.host.first_party_apps {
            own.extend(any.as_ref().map(first_party_apps).unwrap_or_default());
        }
        let given = self.draft.host.oauth.clients.iter();
        let ids = own.iter().chain(given).map(|client| &client.id);
        match clients::find_duplicate(ids) {
            None => Ok(()),
            Some(id) => Err(self.invalid(
                clients::LIST.key,
                &format!("client {:?}: `id` is taken", id.as_str()),
                "give every client an id of its own",
            )),
        }
    }

    /// Limits that make each other impossible.
    fn check_pairs(&self) -> Result<(), ConfigError> {
        let limits = &self.draft.host.limits;
        let rooms = &self.draft.host.rooms;
        let pairs = [
            (
                "limits.max_inbox_bytes",
                limits.max_inbox_bytes,
                "limits.max_frame_bytes",
                limits.max_frame_bytes,
            ),
            (
                "limits.max_log_queue_bytes",
                limits.max_log_queue_bytes,
                "limits.max_commit_bytes",
                limits.max_commit_bytes,
            ),
            (
                "limits.max_frame_bytes",
                limits.max_frame_bytes,
                "rooms.max_actions_bytes",
                rooms.max_actions_bytes,
            ),
            (
                "rooms.max_room_actions_bytes",
                rooms.max_room_actions_bytes,
                "rooms.max_actions_bytes",
                rooms.max_actions_bytes,
            ),
            (
                "rooms.max_connections",
                rooms.max_connections,
                "rooms.max_device_connections",
                rooms.max_device_connections,
            ),
        ];
        let oauth = &self.draft.host.oauth;
        if oauth.grant_ms < oauth.refresh_idle_ms {
            return Err(self.invalid(
                "oauth.grant_lifetime",
                "is shorter than `oauth.refresh_idle_lifetime`",
                "raise oauth.grant_lifetime or lower oauth.refresh_idle_lifetime",
            ));
        }
        match pairs
            .iter()
            .find(|(_, larger, _, smaller)| larger < smaller)
        {
            None => Ok(()),
            Some((key, _, other, _)) => Err(self.invalid(
                key,
                &format!("is smaller than `{other}`"),
                &format!("raise {key} or lower {other}"),
            )),
        }
    }

    fn invalid(&self, setting: &'static str, problem: &str, fix: &str) -> ConfigError {
        ConfigError::Invalid {
            setting,
            origin: self
                .sources
                .get(setting)
                .cloned()
                .unwrap_or(Source::Default),
            problem: problem.to_owned(),
            fix: fix.to_owned(),
        }
    }
}

/// The platform's folder for data that a program keeps for its user.
fn default_data_dir(environment: &Environment<'_>) -> Result<PathBuf, ConfigError> {
    let absolute = |variable: &str| {
        (environment.look_up)(variable)
            .map(PathBuf::from)
            // The base directory specification has relative values ignored.
            .filter(|path| path.is_absolute())
    };
    let base = if cfg!(target_os = "macos") {
        absolute("HOME").map(|home| home.join("Library/Application Support"))
    } else {
        absolute("XDG_DATA_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
    };
    base.map(|base| base.join("epicenter").join("hub"))
        .ok_or(ConfigError::NoDataDir)
}
