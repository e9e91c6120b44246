//! Authorization servers under test, behind one face: where codes and tokens are to be had, and for whom.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use crate::http_client::{Answer, Connection};
use crate::process::{self, ServerProcess};

/// The verifier of RFC 7636 appendix B; every code has the same, so that no time goes into making them.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const EMAIL: &str = "ada@bench.example";
const PASSWORD: &str = "a password of the benchmark";
const FORM: &str = "application/x-www-form-urlencoded";
/// One load generator is one address.
const HUB_CONFIG: &str = "[rate_limits]\nenabled = false\n";

/// What can be started.
#[derive(Clone, Debug)]
pub(crate) enum Program {
    Hub(PathBuf),
    /// The folder of the peer's script and packages, and where it keeps what it knows.
    OidcProvider(PathBuf, &'static str),
}

/// A running one, with somebody signed in.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) process: ServerProcess,
    pub(crate) address: SocketAddr,
    cookie: String,
    authorize_path: String,
    token_path: &'static str,
    client: &'static str,
    redirect_uri: String,
    _directory: tempfile::TempDir,
}

/// What a token request gives.
#[derive(Clone, Debug)]
pub(crate) struct Tokens {
    pub(crate) access: String,
    pub(crate) refresh: String,
}

impl Program {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Hub(_) => "hub",
            Self::OidcProvider(_, "sqlite") => "oidc-provider",
            Self::OidcProvider(..) => "in memory",
        }
    }

    /// Starts it with an empty directory below `parent`.
    pub(crate) async fn start(&self, parent: &Path) -> anyhow::Result<Site> {
        let directory = tempfile::tempdir_in(parent)?;
        match self {
            Self::Hub(program) => start_hub(program, directory).await,
            Self::OidcProvider(folder, store) => start_peer(folder, store, directory),
        }
    }
}

async fn start_hub(program: &Path, directory: tempfile::TempDir) -> anyhow::Result<Site> {
    let config = directory.path().join("hub.toml");
    std::fs::write(&config, HUB_CONFIG)?;
    let data = directory.path().join("data");
    let (config, data) = (text(&config)?, text(&data)?);
    let serve = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--data-dir",
        data,
        "--config",
        config,
        "--log",
        "warn",
    ];
    let (process, address) = ServerProcess::start(program, &serve, directory.path(), |line| {
        line.strip_prefix("listening on http://")?
            .parse::<SocketAddr>()
            .ok()
    })?;
    let add = [
        "admin",
        "user",
        "add",
        "--email",
        EMAIL,
        "--password-stdin",
        "--admin",
        "--data-dir",
        data,
    ];
    process::run(program, &add, PASSWORD)?;
    let body = serde_json::json!({"email": EMAIL, "password": PASSWORD}).to_string();
    let answer = Connection::open(address)
        .await?
        .post("/auth/sign-in/email", "application/json", &body)
        .await?;
    ensure!(answer.status == 200, "sign-in: {}", answer.text());
    let cookie = answer
        .header("set-cookie")
        .and_then(|line| line.split(';').next())
        .context("sign-in sets no cookie")?
        .to_owned();
    // Codes of this redirect URI live ten minutes, so that a great many can be made before the first is used.
    let redirect_uri = format!("http://{address}/auth/cli-callback");
    Ok(Site {
        process,
        address,
        cookie,
        authorize_path: authorize_path("/auth/oauth2/authorize", "epicenter-cli", &redirect_uri),
        token_path: "/auth/oauth2/token",
        client: "epicenter-cli",
        redirect_uri,
        _directory: directory,
    })
}

fn start_peer(folder: &Path, store: &str, directory: tempfile::TempDir) -> anyhow::Result<Site> {
    let script = folder.join("server.mjs");
    let arguments = [text(&script)?, text(directory.path())?, store];
    let node = Path::new("node");
    let (process, (address, cookie)) =
        ServerProcess::start(node, &arguments, directory.path(), |line| {
            let (address, cookie) = line.strip_prefix("listening on ")?.split_once(" with ")?;
            Some((address.parse::<SocketAddr>().ok()?, cookie.to_owned()))
        })?;
    let redirect_uri = "https://bench.example/callback".to_owned();
    Ok(Site {
        process,
        address,
        cookie,
        authorize_path: authorize_path("/auth", "bench", &redirect_uri),
        token_path: "/token",
        client: "bench",
        redirect_uri,
        _directory: directory,
    })
}

fn authorize_path(path: &str, client: &str, redirect_uri: &str) -> String {
    format!(
        "{path}?response_type=code&client_id={client}&redirect_uri={redirect_uri}\
         &scope=openid%20offline_access&state=s&code_challenge={CHALLENGE}&code_challenge_method=S256"
    )
}

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("the folder's name is not UTF-8")
}

impl Site {
    pub(crate) async fn connect(&self) -> anyhow::Result<Connection> {
        Connection::open(self.address).await
    }

    /// A new code, as a signed-in browser gets it.
    pub(crate) async fn code(&self, connection: &mut Connection) -> anyhow::Result<String> {
        let cookie = format!("Cookie: {}", self.cookie);
        let answer = connection.get(&self.authorize_path, &cookie).await?;
        let location = answer.header("location").unwrap_or_default();
        let query = location.split_once('?').map_or("", |(_, query)| query);
        let code = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("code="))
            .with_context(|| format!("no code: {} {location} {}", answer.status, answer.text()))?;
        Ok(code.to_owned())
    }

    /// Exchanges a code.
    pub(crate) async fn redeem(
        &self,
        connection: &mut Connection,
        code: &str,
    ) -> anyhow::Result<Tokens> {
        let body = format!(
            "grant_type=authorization_code&client_id={}&redirect_uri={}&code_verifier={VERIFIER}&code={code}",
            self.client, self.redirect_uri
        );
        Tokens::of(&connection.post(self.token_path, FORM, &body).await?)
    }

    /// Exchanges a refresh token.
    pub(crate) async fn refresh(
        &self,
        connection: &mut Connection,
        token: &str,
    ) -> anyhow::Result<Tokens> {
        let body = format!(
            "grant_type=refresh_token&client_id={}&refresh_token={token}",
            self.client
        );
        Tokens::of(&connection.post(self.token_path, FORM, &body).await?)
    }

    /// Ends it; its directory goes too.
    pub(crate) async fn end(self) -> anyhow::Result<()> {
        self.process.kill()
    }
}

impl Tokens {
    fn of(answer: &Answer) -> anyhow::Result<Self> {
        ensure!(
            answer.status == 200,
            "no tokens: {} {}",
            answer.status,
            answer.text()
        );
        let body: serde_json::Value = serde_json::from_slice(&answer.body)?;
        let member = |name: &str| {
            let value = body.get(name).and_then(serde_json::Value::as_str);
            value
                .map(str::to_owned)
                .with_context(|| format!("no {name} in the answer"))
        };
        // Both servers are asked for it, and it costs a signature.
        member("id_token")?;
        Ok(Self {
            access: member("access_token")?,
            refresh: member("refresh_token")?,
        })
    }
}
