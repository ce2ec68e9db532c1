//! Events out of real databases, which this test starts: PostgreSQL and MariaDB. Where one is not
//! installed its test says so and is skipped, unless `CHORALE_REQUIRE_PEERS` is set.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stderr, clippy::disallowed_methods)]
#![cfg(unix)]

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread::sleep,
    time::Duration,
};

use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_client-agent");
const CATALOGUE: &str =
    "index,item_id,department,category\n0,APPLES,PRODUCE,FRUIT\n1,TEA,DRINKS,TEA\n";
const PASSWORD: &str = "s3cret word";

const TABLES: &str = "CREATE TABLE sales (id int PRIMARY KEY, at timestamp, who varchar(20), \
    product int, price numeric(8,2)); CREATE TABLE products (id int PRIMARY KEY, name varchar(20)); \
    INSERT INTO products VALUES (1, 'APPLES'), (2, 'TEA'); \
    INSERT INTO sales VALUES (1, '2026-01-05 10:00:00', 'CUSTOMER-77', 1, 2.50), \
    (2, '2026-01-06 10:00:00', 'CUSTOMER-78', 2, NULL), (3, '2026-01-06 11:00:00', NULL, 2, 1);";

const SQL: &str = "SELECT at AS event_time, who AS person, '1' AS home_store, 'purchase' AS kind, \
    name AS item, price AS amount, sales.id AS event_id FROM sales JOIN products \
    ON products.id = sales.product";

/// A server of its own, in a folder of its own, until the test ends.
struct Server {
    child: Child,
    _dir: tempfile::TempDir,
    port: u16,
    client: Vec<String>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        for _ in 0..100 {
            if self.child.try_wait().is_ok_and(|ended| ended.is_some()) {
                return;
            }
            sleep(Duration::from_millis(50));
        }
        let _ = self.child.kill();
    }
}

impl Server {
    /// Runs `sql` as the owner.
    fn sql(&self, sql: &str) {
        let said = self.ask(sql);
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    }

    fn ask(&self, sql: &str) -> Output {
        let [program, arguments @ ..] = &self.client[..] else { panic!("no client") };
        Command::new(program).args(arguments).arg(sql).output().unwrap()
    }

    fn wait(&self) {
        for _ in 0..300 {
            if self.ask("SELECT 1").status.success() {
                return;
            }
            sleep(Duration::from_millis(100));
        }
        panic!("the server does not come up");
    }
}

fn missing(what: &str) {
    assert!(std::env::var_os("CHORALE_REQUIRE_PEERS").is_none(), "{what} is not installed");
    eprintln!("skipped: {what} is not installed");
}

fn port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn find(name: &str, places: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    for place in places {
        let versions = fs::read_dir(place).into_iter().flatten().flatten();
        folders.extend(versions.map(|version| version.path().join("bin")));
    }
    folders.push("/usr/sbin".into());
    folders.into_iter().map(|folder| folder.join(name)).find(|program| program.exists())
}

/// A command that does not run as root, which these servers refuse to.
fn as_user(user: &str, program: &Path) -> Command {
    let root = Command::new("id").arg("-u").output().unwrap().stdout.starts_with(b"0\n");
    if !root {
        return Command::new(program);
    }
    let mut command = Command::new("runuser");
    command.args(["-u", user, "--"]).arg(program);
    command
}

/// A folder that `user` may write to.
fn folder(user: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let _ = Command::new("chown").arg(user).arg(dir.path()).stderr(Stdio::null()).status();
    dir
}

fn postgres() -> Option<Server> {
    let places = ["/usr/lib/postgresql"];
    let (initdb, server) = (find("initdb", &places)?, find("postgres", &places)?);
    let psql = find("psql", &places)?;
    let (dir, port) = (folder("postgres"), port());
    let data = dir.path().join("data");
    let made = as_user("postgres", &initdb)
        .args(["-D".as_ref(), data.as_os_str()])
        .args(["-U", "owner", "--auth=trust", "--no-sync"])
        .stdout(Stdio::null())
        .status();
    assert!(made.unwrap().success());
    // Over the network a password is asked for.
    let rules = "local all owner trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
    fs::write(data.join("pg_hba.conf"), rules).unwrap();
    let port_text = port.to_string();
    let client = [psql.to_str()?, "-h", dir.path().to_str()?, "-p", &port_text, "-U", "owner"]
        .into_iter()
        .chain(["-d", "postgres", "-v", "ON_ERROR_STOP=1", "-c"])
        .map(str::to_owned)
        .collect();
    let child = as_user("postgres", &server)
        .args(["-D".as_ref(), data.as_os_str(), "-k".as_ref(), dir.path().as_os_str()])
        .args(["-p", &port.to_string(), "-c", "fsync=off"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let server = Server { child, _dir: dir, port, client };
    server.wait();
    server.sql(TABLES);
    server.sql(&format!(
        "CREATE ROLE reader LOGIN PASSWORD '{PASSWORD}'; GRANT SELECT ON sales, products TO reader"
    ));
    Some(server)
}

fn mariadb() -> Option<Server> {
    let (install, server) = (find("mariadb-install-db", &[])?, find("mariadbd", &[])?);
    let client = find("mariadb", &[])?;
    let (dir, port) = (folder("mysql"), port());
    let data = dir.path().join("data");
    let datadir = format!("--datadir={}", data.display());
    let made = as_user("mysql", &install)
        .args(["--no-defaults", &datadir, "--auth-root-authentication-method=normal"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(made.unwrap().success());
    let socket = format!("--socket={}", dir.path().join("s").display());
    let client = [client.to_str()?, "--no-defaults", &socket, "-uroot", "shop", "-e"];
    let mut client: Vec<String> = client.map(str::to_owned).into();
    let child = as_user("mysql", &server)
        .args(["--no-defaults", &datadir, &socket, "--bind-address=127.0.0.1"])
        .args([format!("--port={port}"), format!("--pid-file={}", dir.path().join("p").display())])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut server = Server { child, _dir: dir, port, client: client.clone() };
    client.retain(|word| word != "shop");
    std::mem::swap(&mut server.client, &mut client);
    server.wait();
    server.sql("CREATE DATABASE shop");
    server.client = client;
    server.sql(TABLES);
    server.sql(&format!(
        "CREATE USER reader@localhost IDENTIFIED BY '{PASSWORD}'; \
         GRANT SELECT ON shop.* TO reader@localhost"
    ));
    Some(server)
}

struct Shop(tempfile::TempDir);

impl Shop {
    fn new(format: &str, address: &str, cursor: &str) -> Self {
        let shop = Self(tempfile::tempdir().unwrap());
        let database = |name: &str, more: &str| {
            format!(
                "[[sources]]\nname = '{name}'\nformat = '{format}'\naddress = 'database.address'\n\
                 query = 'SELECT * FROM {name}'\n{more}\n"
            )
        };
        let config = format!(
            "agent = 'store-1'\nfederation = 'demo'\ncoordinator = '127.0.0.1:7443'\nhome = '1'\n\
             catalogue = 'catalogue.csv'\nevent_sql = \"{SQL}\"\n\
             [cleaning]\nquarantine_max_share = 0.5\n{}{}",
            database("sales", cursor),
            database("products", "cursor = 'id'"),
        );
        for (name, text) in
            [("agent.toml", &*config), ("catalogue.csv", CATALOGUE), ("database.address", address)]
        {
            fs::write(shop.0.path().join(name), text).unwrap();
        }
        shop.readable_by(0o600);
        assert!(shop.run(&["init"]).status.success());
        shop
    }

    fn readable_by(&self, mode: u32) {
        let path = self.0.path().join("database.address");
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let config = self.0.path().join("agent.toml");
        Command::new(PROGRAM).args(arguments).arg("--config").arg(config).output().unwrap()
    }

    fn ingest(&self) -> Value {
        let output = self.run(&["ingest", "--json"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn refused(&self) -> String {
        let output = self.run(&["ingest"]);
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

fn url(server: &Server, scheme: &str, database: &str) -> String {
    let word = PASSWORD.replace(' ', "%20");
    format!("{scheme}://reader:{word}@127.0.0.1:{}/{database}", server.port)
}

fn reads_what_is_new(server: &Server, format: &str, address: &str) {
    let shop = Shop::new(format, address, "cursor = 'id'");
    let first = shop.ingest();
    assert_eq!((&first["quality"]["rows"], &first["persons"]), (&3.into(), &2.into()));
    assert_eq!(first["quality"]["quarantined"]["missing-person"]["rows"], 1);
    assert_eq!(shop.ingest()["reading"]["nothing_new"], true);
    // Only the new row is read, joined with all products.
    server.sql("INSERT INTO sales VALUES (9, '2026-01-04 09:00:00', 'CUSTOMER-77', 2, 3)");
    let second = shop.ingest();
    assert_eq!(second["reading"]["added"], true, "{second}");
    assert_eq!((&second["quality"]["rows"], &second["persons"]), (&1.into(), &2.into()));
    let profile = shop.run(&["profiles", "show", "CUSTOMER-77", "--json"]);
    let profile: Value = serde_json::from_slice(&profile.stdout).unwrap();
    assert_eq!(profile["rhythm"]["baskets"], 2, "{profile}");
    // A newest row that goes is nothing new, and what comes then is read once.
    server.sql("INSERT INTO sales VALUES (12, '2026-01-05 09:00:00', 'CUSTOMER-77', 2, 3)");
    shop.ingest();
    server.sql(
        "DELETE FROM sales WHERE id = 12; \
                INSERT INTO sales VALUES (11, '2026-01-05 09:00:00', 'CUSTOMER-77', 2, 3)",
    );
    assert_eq!(shop.ingest()["reading"]["nothing_new"], true);
    server.sql("INSERT INTO sales VALUES (13, '2026-01-05 09:30:00', 'CUSTOMER-79', 2, 3)");
    assert_eq!(shop.ingest()["quality"]["rows"], 1);
    server.sql("DELETE FROM sales WHERE id IN (11, 13)");
    // Without a cursor nobody can tell what is new, so all is read each time.
    let every = Shop::new(format, address, "");
    every.ingest();
    let again = every.ingest();
    assert_eq!((&again["reading"]["added"], &again["quality"]["rows"]), (&false.into(), &4.into()));
    // The password stands in no answer and in no file of the agent.
    for entry in fs::read_dir(shop.0.path().join("data")).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        for word in ["CUSTOMER-77", "s3cret"] {
            assert!(!bytes.windows(word.len()).any(|window| window == word.as_bytes()));
        }
    }
    shop.readable_by(0o644);
    assert!(shop.refused().contains("others may read it"));
    let wrong = address.replace("s3cret", "wr0ng");
    let said = Shop::new(format, &wrong, "").refused();
    assert!(said.contains("the database of the source"), "{said}");
    assert!(!said.contains("wr0ng") && !said.contains(PASSWORD), "{said}");
}

fn refuses_what_is_no_address(format: &str) {
    let said = Shop::new(format, "not an address at all", "").refused();
    assert!(said.contains("address of the source") && !said.contains("not an address"), "{said}");
}

/// The connection cannot change anything, whatever the account may.
fn changes_nothing(server: &Server, format: &str, address: &str) {
    server.sql("GRANT ALL ON sales TO reader");
    let shop = Shop::new(format, address, "");
    let path = shop.0.path().join("agent.toml");
    let writes = "query = 'WITH gone AS (DELETE FROM sales RETURNING *) SELECT * FROM gone'";
    let config = fs::read_to_string(&path).unwrap();
    fs::write(&path, config.replace("query = 'SELECT * FROM sales'", writes)).unwrap();
    shop.refused();
    server.sql("DO $$ BEGIN ASSERT (SELECT count(*) FROM sales) = 4; END $$");
}

#[test]
fn postgresql() {
    let Some(server) = postgres() else { return missing("PostgreSQL") };
    let address = url(&server, "postgres", "postgres");
    reads_what_is_new(&server, "postgres", &address);
    refuses_what_is_no_address("postgres");
    changes_nothing(&server, "postgres", &address);
}

#[test]
fn mysql() {
    let Some(server) = mariadb() else { return missing("MariaDB") };
    reads_what_is_new(&server, "mysql", &url(&server, "mysql", "shop"));
    refuses_what_is_no_address("mysql");
}

/// The way to SQL Server, which is not to be had here, with PostgreSQL at its end.
#[cfg(feature = "odbc")]
#[test]
fn odbc() {
    let folder = format!("/usr/lib/{}-linux-gnu/odbc", std::env::consts::ARCH);
    let driver = Path::new(&folder).join("psqlodbcw.so");
    let Some(server) = postgres() else { return missing("PostgreSQL") };
    if !driver.exists() {
        return missing("PostgreSQL's ODBC driver");
    }
    let address = format!(
        "Driver={};Server=127.0.0.1;Port={};Database=postgres;Uid=reader;Pwd={PASSWORD}",
        driver.display(),
        server.port
    );
    reads_what_is_new(&server, "odbc", &address);
    changes_nothing(&server, "odbc", &address);
    // A value that does not fit is no shorter value.
    server.sql(
        "ALTER TABLE sales ALTER who TYPE text; \
         INSERT INTO sales VALUES (20, '2026-01-07 10:00:00', repeat('x', 9000), 2, 3)",
    );
    let said = Shop::new("odbc", &address, "").refused();
    assert!(said.to_lowercase().contains("truncat"), "{said}");
}

#[cfg(not(feature = "odbc"))]
#[test]
fn a_program_without_odbc_says_so() {
    let shop = Shop::new("postgres", "postgres://reader:word@127.0.0.1:1/shop", "");
    let path = shop.0.path().join("agent.toml");
    let config = fs::read_to_string(&path).unwrap().replace("'postgres'", "'odbc'");
    fs::write(&path, config).unwrap();
    let said = shop.refused();
    assert!(said.contains("--features odbc"), "{said}");
}
