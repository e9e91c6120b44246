//! A PostgreSQL cluster for tests, from the system's package: private, on a free loopback port, with a fresh database for
//! whoever asks.
//!
//! PostgreSQL refuses to run as root; a test that is root runs it as the package's user. A shell stands between the test
//! and the server and ends the server when the test's end of a pipe closes, however the test ends.

use std::fs;
use std::io::Read as _;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use epicenter_native::store::postgres;
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::soon;

const USER: &str = "epicenter";
/// With characters that a URL has to encode.
const PASSWORD: &str = "quite/secret?";
const ENCODED_PASSWORD: &str = "quite%2Fsecret%3F";
const START_WITHIN: Duration = Duration::from_secs(60);
/// Runs its arguments until its input closes.
const UNTIL_INPUT_ENDS: &str =
    r#""$@" & server=$!; read -r _; kill -QUIT "$server"; wait "$server""#;

/// A running cluster; it stops when dropped.
pub struct PostgresCluster {
    programs: PathBuf,
    /// The uid and gid that run the server, when they are not the test's.
    identity: Option<(u32, u32)>,
    directory: TempDir,
    port: u16,
    server: Mutex<Option<Child>>,
    databases: AtomicU32,
    /// The database that others are copied from, once there is one.
    template: OnceCell<String>,
}

impl std::fmt::Debug for PostgresCluster {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "PostgresCluster({})", self.port)
    }
}

impl PostgresCluster {
    /// The cluster that tests of this process share while any of them uses it.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<PostgresCluster>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let cluster = Arc::new(Self::start());
            *shared = Arc::downgrade(&cluster);
            cluster
        })
    }

    /// A cluster of one's own, for a test that stops it.
    pub fn start() -> Self {
        let programs = find_programs();
        let directory = tempfile::tempdir().expect("a temporary directory");
        let is_root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
        let identity = is_root.then(package_user);
        if let Some((uid, gid)) = identity {
            chown(directory.path(), Some(uid), Some(gid)).expect("the directory is given away");
        }
        let mut cluster = Self {
            programs,
            identity,
            directory,
            port: 0,
            server: Mutex::new(None),
            databases: AtomicU32::new(0),
            template: OnceCell::new(),
        };
        cluster.initialize();
        // Somebody else may take the port between the look and the start.
        for _ in 0..5 {
            cluster.port = free_port();
            if cluster.launch() {
                return cluster;
            }
        }
        panic!("PostgreSQL did not start: {}", cluster.log());
    }

    /// A new database, as the value of `DATABASE_URL`.
    pub fn database(&self) -> String {
        let name = self.next_name();
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        self.url(&name)
    }

    /// A new database with the schema of this program, copied from one that was migrated once.
    pub async fn migrated_database(&self) -> String {
        let template = self.template.get_or_init(|| async {
            let url = self.database();
            // Only a database that nobody is connected to can be copied, and these connections end with their task.
            drop(postgres::open(&url).await.expect("the schema is made"));
            let name = url.rsplit('/').next().expect("a database").to_owned();
            let connected =
                format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}'");
            soon("the end of the connections", async {
                while self.sql("postgres", &connected) != "0" {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            })
            .await;
            name
        });
        let template = template.await;
        let name = self.next_name();
        self.sql(
            "postgres",
            &format!("CREATE DATABASE {name} TEMPLATE {template}"),
        );
        self.url(&name)
    }

    fn next_name(&self) -> String {
        format!("hub_{}", self.databases.fetch_add(1, Ordering::Relaxed))
    }

    /// The URL of a database of this cluster.
    pub fn url(&self, database: &str) -> String {
        let port = self.port;
        format!("postgres://{USER}:{ENCODED_PASSWORD}@127.0.0.1:{port}/{database}")
    }

    /// The URL of the same database through the Unix socket.
    pub fn socket_url(&self, database: &str) -> String {
        let path = self.directory.path().display();
        let port = self.port;
        format!("postgres://{USER}:{ENCODED_PASSWORD}@/{database}?host={path}&port={port}")
    }

    /// What the password is, to look for where it must not be.
    pub fn password(&self) -> &'static str {
        PASSWORD
    }

    /// Runs statements beside the hub; the rows, one a line, columns separated by `|`.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let mut psql = self.command("psql");
        psql.env("PGPASSWORD", PASSWORD)
            .args([
                "-X",
                "-q",
                "-A",
                "-t",
                "-v",
                "ON_ERROR_STOP=1",
                "-h",
                "127.0.0.1",
            ])
            .args([
                "-p",
                &self.port.to_string(),
                "-U",
                USER,
                "-d",
                database,
                "-c",
                sql,
            ]);
        run(psql).trim_end().to_owned()
    }

    /// Kills the server as a power cut would, without a checkpoint.
    pub fn stop(&self) {
        let server = self
            .server
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(mut server) = server {
            drop(server.stdin.take());
            server.wait().expect("the server ends");
        }
    }

    /// Starts the server again on the same port.
    pub fn resume(&self) {
        assert!(
            self.launch(),
            "PostgreSQL did not start again: {}",
            self.log()
        );
    }

    fn initialize(&self) {
        let password = self.directory.path().join("password");
        fs::write(&password, PASSWORD).expect("the password is written");
        fs::set_permissions(&password, fs::Permissions::from_mode(0o644)).expect("readable");
        let mut initdb = self.command("initdb");
        initdb
            .arg("-D")
            .arg(self.data())
            .args([
                "-U",
                USER,
                "--auth=scram-sha-256",
                "-E",
                "UTF8",
                "--no-locale",
                "--no-instructions",
            ])
            .arg(format!("--pwfile={}", password.display()));
        run(initdb);
    }

    /// Whether the server came up and is ours.
    fn launch(&self) -> bool {
        let log = fs::File::create(self.directory.path().join("log")).expect("a log file");
        let mut command = self.as_server("sh");
        command
            .args(["-c", UNTIL_INPUT_ENDS, "sh"])
            .arg(self.programs.join("postgres"))
            .arg("-D")
            .arg(self.data())
            .arg("-k")
            .arg(self.directory.path())
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string()])
            .args(["-c", "max_connections=200", "-c", "shared_buffers=16MB"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log);
        let child = command.spawn().expect("a shell starts");
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);
        let deadline = Instant::now() + START_WITHIN;
        while Instant::now() < deadline {
            let log = self.log();
            if log.contains("database system is ready to accept connections") {
                return true;
            }
            // Clients that come too early are told so, in the same words.
            let is_fatal =
                |line: &str| line.contains("FATAL") && !line.contains("the database system is");
            // The last line may not be whole yet.
            let whole = log.rsplit_once('\n').map_or("", |(lines, _)| lines);
            if whole.lines().any(is_fatal) {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.stop();
        false
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn command(&self, program: &str) -> Command {
        self.as_server(self.programs.join(program))
    }

    fn as_server(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = match self.identity {
            Some((uid, gid)) => {
                let mut command = Command::new("setpriv");
                command
                    .arg(format!("--reuid={uid}"))
                    .arg(format!("--regid={gid}"))
                    .arg("--clear-groups")
                    .arg(program);
                command
            }
            None => Command::new(program),
        };
        command.current_dir(self.directory.path());
        command
    }
}

impl Drop for PostgresCluster {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The newest version's programs where Debian puts them, or those on the path.
fn find_programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let newest = versions
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|programs| has_programs(programs))
        .max_by_key(|programs| {
            let version = programs.parent().and_then(Path::file_name);
            version.and_then(|version| version.to_str()?.parse::<u32>().ok())
        });
    let path = std::env::var_os("PATH").unwrap_or_default();
    newest
        .or_else(|| std::env::split_paths(&path).find(|programs| has_programs(programs)))
        .expect("PostgreSQL is not installed; these tests need it: apt-get install postgresql")
}

fn has_programs(directory: &Path) -> bool {
    ["initdb", "postgres", "psql"]
        .iter()
        .all(|program| directory.join(program).is_file())
}

/// Debian's package makes the user `postgres`.
fn package_user() -> (u32, u32) {
    let id = |flag: &str| {
        let mut command = Command::new("id");
        command.args([flag, "postgres"]);
        run(command).trim().parse().expect("a number")
    };
    (id("-u"), id("-g"))
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// The program's output.
fn run(mut command: Command) -> String {
    let what = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    let mut said = String::new();
    let stdout = child.stdout.take();
    stdout
        .expect("piped")
        .read_to_string(&mut said)
        .expect("text");
    let output = child.wait_with_output().expect("it ends");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what} failed: {errors}");
    said
}
