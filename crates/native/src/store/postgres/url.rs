//! `DATABASE_URL`: a PostgreSQL URL as libpq reads it, with two differences. Without `sslmode`, a server on another
//! machine is reached by TLS or not at all; and TLS always means a certificate that is checked.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::config::{Host, SslMode};

/// How long reaching a server may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A peer that does not acknowledge anything for so long is gone.
const SILENCE: Duration = Duration::from_secs(10);

/// Why `DATABASE_URL` cannot be read. The URL itself is not repeated: it holds a password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// Another scheme.
    #[error("DATABASE_URL does not begin with postgres:// or postgresql://")]
    Scheme,
    /// Something in it is malformed.
    #[error(
        "DATABASE_URL is malformed; write postgres://user:password@host:5432/database, with characters such as @ / ? # in the password percent-encoded"
    )]
    Malformed,
    /// No host.
    #[error("DATABASE_URL names no host; for a Unix socket add ?host=/run/postgresql")]
    NoHost,
    /// A value of `sslmode` that does not exist.
    #[error("DATABASE_URL has an unknown sslmode; use disable, prefer, require or verify-full")]
    SslMode,
    /// The file of `sslrootcert` cannot be read, or the system's certificates cannot.
    #[error("the certificates to check PostgreSQL's with cannot be read: {0}")]
    Roots(String),
}

/// A parsed URL.
#[derive(Clone)]
pub(super) struct DatabaseUrl {
    pub(super) config: tokio_postgres::Config,
    pub(super) tls: Option<rustls::ClientConfig>,
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("DatabaseUrl")
    }
}

/// What the URL says about TLS.
#[derive(Default)]
struct Tls {
    mode: Option<SslMode>,
    roots: Option<PathBuf>,
}

impl DatabaseUrl {
    pub(super) fn parse(text: &str) -> Result<Self, UrlError> {
        let text = text.trim();
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err(UrlError::Scheme);
        }
        let (rest, tls) = split_tls(text)?;
        // The driver's error may repeat a part of a password in which something was not encoded.
        let mut config: tokio_postgres::Config = rest.parse().map_err(|_| UrlError::Malformed)?;
        if config.get_hosts().is_empty() {
            return Err(UrlError::NoHost);
        }
        let is_here = config.get_hosts().iter().all(is_this_machine);
        let mode = tls.mode.unwrap_or(if is_here {
            SslMode::Disable
        } else {
            SslMode::Require
        });
        config.ssl_mode(mode);
        config.tcp_user_timeout(SILENCE);
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_application_name().is_none() {
            config.application_name("epicenter");
        }
        let tls = match mode {
            SslMode::Disable => None,
            _ => Some(super::tls::client_config(tls.roots.as_deref())?),
        };
        Ok(Self { config, tls })
    }

    /// Host, port and database, for messages.
    pub(super) fn server(&self) -> String {
        let ports = self.config.get_ports();
        let hosts = self
            .config
            .get_hosts()
            .iter()
            .enumerate()
            .map(|(at, host)| {
                let port = ports.get(at).or(ports.first()).unwrap_or(&5432);
                match host {
                    Host::Tcp(name) => format!("{name}:{port}"),
                    Host::Unix(path) => format!("{}:{port}", path.display()),
                }
            });
        let hosts: Vec<_> = hosts.collect();
        let user = self.config.get_user().unwrap_or_default();
        let database = self.config.get_dbname().unwrap_or(user);
        format!("{}/{database}", hosts.join(","))
    }
}

/// Takes out the parameters that the driver does not know in full.
fn split_tls(text: &str) -> Result<(String, Tls), UrlError> {
    let mut tls = Tls::default();
    let Some((base, query)) = text.split_once('?') else {
        return Ok((text.to_owned(), tls));
    };
    let mut others = Vec::new();
    for pair in query.split('&') {
        match pair.split_once('=') {
            Some(("sslmode", mode)) => {
                tls.mode = Some(match mode {
                    "disable" => SslMode::Disable,
                    "allow" | "prefer" => SslMode::Prefer,
                    "require" | "verify-ca" | "verify-full" => SslMode::Require,
                    _ => return Err(UrlError::SslMode),
                });
            }
            Some(("sslrootcert", path)) => {
                let path = form_urlencoded_path(path).ok_or(UrlError::Malformed)?;
                tls.roots = Some(path);
            }
            // What follows a `?` that stands in a password; the driver would take it for a part of the password.
            None if !pair.is_empty() => return Err(UrlError::Malformed),
            _ => others.push(pair),
        }
    }
    let rest = if others.is_empty() {
        base.to_owned()
    } else {
        format!("{base}?{}", others.join("&"))
    };
    Ok((rest, tls))
}

/// A percent-encoded path.
fn form_urlencoded_path(text: &str) -> Option<PathBuf> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            let value = digit()? * 16 + digit()?;
            bytes.push(u8::try_from(value).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    // A path of this system may be any bytes; one in a URL is text.
    String::from_utf8(bytes).ok().map(PathBuf::from)
}

fn is_this_machine(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            let bare = name.trim_matches(['[', ']']);
            name == "localhost"
                || bare
                    .parse::<std::net::IpAddr>()
                    .is_ok_and(|address| address.is_loopback())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(url: &str) -> SslMode {
        DatabaseUrl::parse(url)
            .expect("a URL")
            .config
            .get_ssl_mode()
    }

    #[test]
    fn another_machine_is_reached_by_tls_unless_the_url_says_otherwise() {
        assert_eq!(mode("postgres://u@db.example/d"), SslMode::Require);
        assert_eq!(mode("postgres://u@10.0.0.5/d"), SslMode::Require);
        assert_eq!(
            mode("postgres://u@db.example/d?sslmode=disable"),
            SslMode::Disable
        );
        assert_eq!(
            mode("postgres://u@db.example/d?sslmode=prefer"),
            SslMode::Prefer
        );
        assert_eq!(
            mode("postgres://u@db.example/d?sslmode=verify-full"),
            SslMode::Require
        );
        assert_eq!(
            mode("postgres://u@localhost,db.example/d"),
            SslMode::Require
        );
    }

    #[test]
    fn this_machine_is_reached_plainly() {
        assert_eq!(mode("postgres://u@localhost/d"), SslMode::Disable);
        assert_eq!(mode("postgresql://u@127.0.0.1:5433/d"), SslMode::Disable);
        assert_eq!(
            mode("postgres://u@/d?host=/run/postgresql"),
            SslMode::Disable
        );
        assert_eq!(
            mode("postgres://u@localhost/d?sslmode=require"),
            SslMode::Require
        );
    }

    #[test]
    fn errors_say_what_is_wrong_and_never_the_password() {
        let cases = [
            ("mysql://u:hunter2@h/d", "begin with"),
            ("postgres://u:hun?ter2@h/d", "malformed"),
            ("postgres://u:hunter2@h:port/d", "malformed"),
            ("postgres://u:hunter2@h/d?sslmode=maybe", "sslmode"),
            ("postgres://u:hunter2@h/d?unknown=hunter2", "malformed"),
            (
                "postgres://u:hunter2@h/d?sslrootcert=/nowhere/at/all&sslmode=require",
                "/nowhere/at/all",
            ),
            ("postgres:///d", "no host"),
        ];
        for (url, part) in cases {
            let error = DatabaseUrl::parse(url).expect_err(url);
            let text = format!("{error} {error:?}");
            assert!(
                text.to_lowercase().contains(part) || error.to_string().contains(part),
                "{text}"
            );
            assert!(!text.contains("hun") && !text.contains("ter2"), "{text}");
        }
    }

    #[test]
    fn the_server_is_named_without_credentials() {
        let url = DatabaseUrl::parse("postgres://u:hunter2@localhost:5433/d").expect("a URL");
        assert_eq!(url.server(), "localhost:5433/d");
        assert_eq!(format!("{url:?}"), "DatabaseUrl");
    }
}
