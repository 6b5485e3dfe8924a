//! What can happen to a SQLite file: kills, locks, moves, damage, a full disk, another version.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of test functions")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use postseal_dkim::{DomainName, UnixTime};
use postseal_engine::{Revision, TenantId};
use postseal_store::{
    BUSY_TIMEOUT, DomainFilter, NewDomain, NewTenant, OPERATION_TIMEOUT, Store, StoreError,
    TenantEdit,
};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _, SqlSafeStr as _};

const NOW: UnixTime = UnixTime(1_790_000_000);

/// Tells the child of `what_was_committed_survives_a_kill` where to write.
const KILLED_CHILD: &str = "POSTSEAL_TEST_STORE_OF_KILLED_CHILD";

struct Place {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

fn place() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    Place { _folder: folder, path }
}

/// A connection past the store.
async fn raw(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).connect().await.unwrap()
}

async fn run(path: &Path, sql: &'static str) {
    let mut connection = raw(path).await;
    sqlx::raw_sql(sql.into_sql_str()).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

async fn write_tenant(store: &Store) -> Result<Revision, StoreError> {
    let mut unit = store.write(NOW).await?;
    unit.create_tenant(NewTenant::default()).await?;
    Ok(unit.commit().await?.unwrap())
}

#[tokio::test]
async fn the_file_is_for_its_owner_alone() {
    let place = place();
    let store = Store::open(&place.path).await.unwrap();
    write_tenant(&store).await.unwrap();
    for file in ["store.db", "store.db-wal", "store.db-shm"] {
        let mode = fs::metadata(place.path.with_file_name(file)).unwrap().mode() & 0o7777;
        assert_eq!(mode, 0o600, "{file}");
    }
}

#[tokio::test]
async fn what_was_saved_is_there_after_a_restart() {
    let place = place();
    let store = Store::open(&place.path).await.unwrap();
    assert_eq!(write_tenant(&store).await.unwrap(), Revision::new(1));
    store.close().await;
    drop(store);
    let store = Store::open(&place.path).await.unwrap();
    assert_eq!(*store.watch().borrow(), Revision::new(1));
    assert_eq!(store.tenants().await.unwrap().len(), 2);
    assert_eq!(write_tenant(&store).await.unwrap(), Revision::new(2));
}

/// Not a test of its own: what `what_was_committed_survives_a_kill` runs in a process of its own.
#[tokio::test]
async fn child_writes_until_it_is_killed() {
    let Some(path) = std::env::var_os(KILLED_CHILD) else { return };
    let store = Store::open(Path::new(&path)).await.unwrap();
    loop {
        let mut unit = store.write(NOW).await.unwrap();
        let tenant = unit.create_tenant(NewTenant::default()).await.unwrap();
        let domain = DomainName::parse(&format!("t{}.example", tenant.id)).unwrap();
        unit.create_domain(NewDomain::new(tenant.id, domain)).await.unwrap();
        let edit = TenantEdit { name: Some("whole".to_owned()), ..TenantEdit::default() };
        unit.edit_tenant(tenant.id, edit).await.unwrap();
        let revision = unit.commit().await.unwrap().unwrap();
        println!("committed {revision}");
    }
}

#[tokio::test]
async fn what_was_committed_survives_a_kill() {
    let place = place();
    let mut reached = 0;
    for round in 0..12_usize {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_writes_until_it_is_killed", "--nocapture"])
            .env(KILLED_CHILD, &place.path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut committed = |line: std::io::Result<String>| {
            if let Some((_, revision)) = line.unwrap().rsplit_once("committed ") {
                reached = revision.parse().unwrap();
            }
        };
        // Killed at some other point of its work each time.
        for line in lines.by_ref().take(6 + round) {
            committed(line);
        }
        let until = Instant::now() + Duration::from_micros(137 * round as u64);
        while Instant::now() < until {}
        child.kill().unwrap();
        child.wait().unwrap();
        lines.for_each(&mut committed);

        let store = Store::open(&place.path).await.unwrap();
        let newest = store.revision().await.unwrap().get();
        assert!(newest >= reached, "round {round}: {newest} < {reached}");
        assert_eq!(newest % 3, 0, "round {round}: a unit came apart");
        let tenants = store.tenants().await.unwrap();
        assert_eq!(tenants.len() as u64, 1 + newest / 3);
        for tenant in tenants.iter().skip(1) {
            assert_eq!(tenant.name, "whole", "{}", tenant.id);
        }
        assert_eq!(store.domains(&Default::default()).await.unwrap().len() as u64, newest / 3);
        store.load_all().await.unwrap();
        store.close().await;
    }
    assert!(reached > 12 * 6, "{reached}");
    let mut connection = raw(&place.path).await;
    let check: (String,) =
        sqlx::query_as("PRAGMA integrity_check").fetch_one(&mut connection).await.unwrap();
    assert_eq!(check.0, "ok");
}

#[tokio::test]
async fn a_lock_of_another_process_makes_writers_wait_and_no_longer_than_told() {
    let place = place();
    let store = Store::open(&place.path).await.unwrap();
    write_tenant(&store).await.unwrap();
    let mut other = raw(&place.path).await;
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();

    let start = Instant::now();
    let error = write_tenant(&store).await.unwrap_err();
    assert!(matches!(error, StoreError::Busy), "{error:?}");
    assert!(start.elapsed() < BUSY_TIMEOUT + OPERATION_TIMEOUT, "{:?}", start.elapsed());
    // Readers don't wait for writers.
    let start = Instant::now();
    assert_eq!(store.load_all().await.unwrap().0, Revision::new(1));
    assert!(start.elapsed() < BUSY_TIMEOUT);

    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    assert_eq!(write_tenant(&store).await.unwrap(), Revision::new(2));
}

#[tokio::test]
async fn a_unit_that_is_held_too_long_holds_others_up_for_a_bounded_time() {
    let place = place();
    let store = Store::open(&place.path).await.unwrap();
    let unit = store.write(NOW).await.unwrap();
    let error = write_tenant(&store).await.unwrap_err();
    assert!(matches!(error, StoreError::Busy), "{error:?}");
    drop(unit);
    assert_eq!(write_tenant(&store).await.unwrap(), Revision::new(1));
}

#[tokio::test]
async fn a_file_that_was_moved_or_replaced_is_noticed() {
    let place = place();
    let store = Store::open(&place.path).await.unwrap();
    write_tenant(&store).await.unwrap();
    let elsewhere = place.path.with_extension("old");
    fs::rename(&place.path, &elsewhere).unwrap();
    let moved = |error| matches!(error, StoreError::Moved { path } if path == place.path);
    assert!(moved(write_tenant(&store).await.unwrap_err()));
    assert!(moved(store.changes_since(Revision::ZERO).await.unwrap_err()));
    fs::write(&place.path, "").unwrap();
    assert!(moved(write_tenant(&store).await.unwrap_err()));
    fs::rename(&elsewhere, &place.path).unwrap();
    assert_eq!(write_tenant(&store).await.unwrap(), Revision::new(2));
}

#[tokio::test]
async fn damaged_rows_are_named() {
    let cases = [
        ("UPDATE tenant SET status = 'asleep' WHERE id = 1", "tenant", "1"),
        ("UPDATE tenant SET policy = '{\"on_unsigned\":\"maybe\"}' WHERE id = 1", "tenant", "1"),
        ("UPDATE tenant SET created_at = -5 WHERE id = 1", "tenant", "1"),
        ("UPDATE domain SET dkim_status = 'fine'", "domain", "1 a.example"),
        ("UPDATE domain SET ownership_verified = TRUE", "domain", "1 a.example"),
        ("UPDATE domain SET name = 'a..example'", "domain", "1 a..example"),
        ("UPDATE domain SET attributes = '[1'", "domain", "1 a.example"),
        ("UPDATE pool SET grants = '[\"x\"]'", "pool", "default"),
        ("UPDATE platform SET default_signing_domain = ' '", "platform", "1"),
    ];
    for (sql, table, id) in cases {
        let place = place();
        let store = Store::open(&place.path).await.unwrap();
        let mut unit = store.write(NOW).await.unwrap();
        let owner = unit.create_tenant(NewTenant::default()).await.unwrap().id;
        let domain = DomainName::parse("a.example").unwrap();
        unit.create_domain(NewDomain::new(owner, domain)).await.unwrap();
        unit.commit().await.unwrap();
        store.load_all().await.unwrap();
        run(&place.path, sql).await;
        let read = async {
            store.load_all().await?;
            // What signing does not depend on is found when it is asked for.
            store.domains(&DomainFilter::default()).await
        };
        match read.await {
            Err(StoreError::Corrupt { table: found, id: row, .. }) => {
                assert_eq!((found, row.as_str()), (table, id), "{sql}");
            }
            other => panic!("{sql}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_is_told_from_one_that_cannot_be_opened() {
    let place = place();
    fs::write(&place.path, "swordfish ".repeat(1_000)).unwrap();
    let error = Store::open(&place.path).await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged(_)), "{error:?}");
    let nowhere = place.path.join("store.db");
    let error = Store::open(&nowhere).await.unwrap_err();
    assert!(matches!(error, StoreError::Open { .. }), "{error:?}");
}

#[tokio::test]
async fn a_database_of_a_later_version_is_left_alone() {
    let place = place();
    Store::open(&place.path).await.unwrap().close().await;
    run(
        &place.path,
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (999, 'later', TRUE, x'00', 0)",
    )
    .await;
    let error = Store::open(&place.path).await.unwrap_err();
    assert!(matches!(error, StoreError::SchemaNewer), "{error:?}");
}

#[tokio::test]
async fn a_damaged_row_holds_up_no_other_change() {
    for (damage, table, domain) in [
        ("UPDATE domain SET sharing = 'x' WHERE name = 'b.example'", "domain", Some("b.example")),
        ("UPDATE tenant SET status = 'x' WHERE id = 1", "tenant", None),
    ] {
        let place = place();
        let store = Store::open(&place.path).await.unwrap();
        let mut unit = store.write(NOW).await.unwrap();
        unit.create_tenant(NewTenant::default()).await.unwrap();
        for domain in ["a.example", "b.example", "c.example"] {
            let domain = DomainName::parse(domain).unwrap();
            unit.create_domain(NewDomain::new(TenantId::PRIMARY, domain)).await.unwrap();
        }
        unit.commit().await.unwrap();
        run(&place.path, damage).await;

        let changes = store.changes_since(Revision::ZERO).await.unwrap();
        let [damaged] = &changes.damaged[..] else { panic!("{damage}: {:?}", changes.damaged) };
        assert_eq!((changes.until, changes.rows.len()), (Revision::new(4), 3), "{damage}");
        let named = damaged.domain.as_ref().map(|domain| domain.name.as_str());
        let is_verified = damaged.domain.as_ref().map(|domain| domain.is_verified);
        assert_eq!(is_verified, domain.map(|_| Some(false)), "{damage}");
        let revision = if domain.is_some() { 3 } else { 1 };
        assert_eq!((named, damaged.revision), (domain, Revision::new(revision)), "{damage}");
        assert!(damaged.error.to_string().contains(&format!("of table {table} is damaged")));
        // What is behind it comes all the same, and what was seen comes no more.
        assert!(store.changes_since(changes.until).await.unwrap().rows.is_empty());

        let loaded = store.load_all().await;
        assert!(matches!(loaded, Err(StoreError::Corrupt { .. })), "{damage}: {loaded:?}");
    }
}

#[tokio::test]
async fn of_a_damaged_domain_it_is_told_whether_its_owner_was_verified() {
    let place = place();
    let store = Store::open(&place.path).await.unwrap();
    let mut unit = store.write(NOW).await.unwrap();
    let domain = DomainName::parse("a.example").unwrap();
    unit.create_domain(NewDomain::new(TenantId::PRIMARY, domain)).await.unwrap();
    unit.commit().await.unwrap();
    for (damage, want) in [
        ("UPDATE domain SET sharing = 'x', ownership_verified = TRUE, verified_at = 1", Some(true)),
        ("UPDATE domain SET ownership_verified = 'x'", None),
    ] {
        run(&place.path, damage).await;
        let changes = store.changes_since(Revision::ZERO).await.unwrap();
        let domain = changes.damaged[0].domain.as_ref().unwrap();
        assert_eq!((domain.name.as_str(), domain.is_verified), ("a.example", want), "{damage}");
    }
}

#[tokio::test]
async fn a_log_that_is_ahead_of_its_counter_moves_nobody() {
    let place = place();
    let store = Store::open(&place.path).await.unwrap();
    write_tenant(&store).await.unwrap();
    run(&place.path, "INSERT INTO change_log VALUES (99, 'x', 0, '', 0), ('late', 'x', 0, '', 0)")
        .await;
    let changes = store.changes_since(Revision::ZERO).await.unwrap();
    assert_eq!((changes.until, changes.rows.len()), (Revision::new(1), 1));
    assert!(store.changes_since(changes.until).await.unwrap().rows.is_empty());
}

#[tokio::test]
async fn a_damaged_log_asks_for_everything() {
    let place = place();
    let store = Store::open(&place.path).await.unwrap();
    write_tenant(&store).await.unwrap();
    run(&place.path, "UPDATE change_log SET kind = 'x'").await;
    let changes = store.changes_since(Revision::ZERO).await;
    assert!(matches!(changes, Err(StoreError::Forgotten)), "{changes:?}");
    assert_eq!(store.load_all().await.unwrap().0, Revision::new(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stores_that_open_at_once_agree_on_the_tables() {
    let place = place();
    let open = |_| {
        let path = place.path.clone();
        tokio::spawn(async move { Store::open(&path).await.unwrap() })
    };
    let tasks: Vec<_> = (0..6).map(open).collect();
    let mut stores = Vec::new();
    for task in tasks {
        stores.push(task.await.unwrap());
    }
    for (number, store) in (1..).zip(&stores) {
        assert_eq!(write_tenant(store).await.unwrap(), Revision::new(number));
    }
    // Each sees what the others wrote, as another process would.
    for store in &stores {
        assert_eq!(store.tenant(TenantId::new(6)).await.unwrap().unwrap().id, TenantId::new(6));
        assert_eq!(store.changes_since(Revision::ZERO).await.unwrap().rows.len(), 6);
    }
}

#[tokio::test]
async fn a_full_disk_and_a_read_only_file_are_told_apart() {
    let place = place();
    Store::open(&place.path).await.unwrap().close().await;
    let mut connection = raw(&place.path).await;
    sqlx::raw_sql("PRAGMA max_page_count = 1").execute(&mut connection).await.unwrap();
    let full = sqlx::query("INSERT INTO tenant SELECT 9, $1, '', NULL, '', 0, 0")
        .bind("x".repeat(100_000))
        .execute(&mut connection)
        .await
        .unwrap_err();
    assert!(matches!(StoreError::from(full), StoreError::Full));
    sqlx::raw_sql("PRAGMA query_only = TRUE").execute(&mut connection).await.unwrap();
    let read_only =
        sqlx::raw_sql("DELETE FROM change_log").execute(&mut connection).await.unwrap_err();
    assert!(matches!(StoreError::from(read_only), StoreError::ReadOnly));
}

#[tokio::test]
async fn a_transaction_that_sqlite_gave_up_by_itself_does_not_end_all_writing() {
    let place = place();
    let store = Store::open(&place.path).await.unwrap();
    // SQLite does the same when the disk is full: the transaction is rolled back before anyone asks for it.
    let give_up = "CREATE TRIGGER give_up BEFORE INSERT ON tenant \
                   BEGIN SELECT RAISE(ROLLBACK, 'given up'); END";
    run(&place.path, give_up).await;
    for _ in 0..3 {
        let error = write_tenant(&store).await.unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("given up"), "{cause}");
    }
    run(&place.path, "DROP TRIGGER give_up").await;
    assert_eq!(write_tenant(&store).await.unwrap(), Revision::new(1));
}
