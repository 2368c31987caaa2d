//! Around sqlx: a database that is locked by somebody else is asked again, a wrong statement is not.

use std::time::Duration;

use evenkeel_tolerate::policy::Errors;
use evenkeel_tolerate::{Call, Recovery, Stopped, Verdict};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};

/// What an error of the database means. 5 is SQLITE_BUSY: the transaction was not begun, so nothing was done.
fn meaning(error: &sqlx::Error) -> Verdict {
    match error {
        sqlx::Error::Database(database) if database.code().as_deref() == Some("5") => {
            Verdict::THROTTLED
        }
        sqlx::Error::PoolTimedOut => Verdict::Unsent,
        sqlx::Error::Io(error) => Verdict::of_io(error),
        _ => Verdict::Fatal,
    }
}

#[tokio::test]
async fn a_locked_database_is_asked_again() -> Result<(), sqlx::Error> {
    let folder = tempfile::tempdir()?;
    let options = SqliteConnectOptions::new()
        .filename(folder.path().join("test.db"))
        .create_if_missing(true)
        .busy_timeout(Duration::ZERO);
    let pool = SqlitePool::connect_with(options).await?;
    sqlx::query("create table paid (amount integer)")
        .execute(&pool)
        .await?;
    let policy = Recovery::default();

    let mut somebody = Some(pool.begin_with("begin immediate").await?);
    let recovered = policy
        .call(Call::idempotent("insert"))
        .classify(Errors(meaning))
        .run(|attempt| {
            // Whoever holds the lock lets go of it before the second attempt.
            let leaves = somebody.take_if(|_| attempt.number() == 2);
            let pool = pool.clone();
            async move {
                if let Some(leaves) = leaves {
                    leaves.rollback().await?;
                }
                sqlx::query("insert into paid values (5)")
                    .execute(&pool)
                    .await
            }
        })
        .await;
    let ended: Vec<_> = recovered.report().log().map(|it| it.verdict).collect();
    assert_eq!(ended, [Some(Verdict::THROTTLED), Some(Verdict::Good)]);
    assert_eq!(
        recovered.into_result().expect("the second").rows_affected(),
        1
    );

    let wrong = policy
        .call(Call::idempotent("wrong"))
        .classify(Errors(meaning))
        .run(|_| sqlx::query("insert into nothing values (5)").execute(&pool))
        .await;
    assert_eq!(
        (wrong.stopped(), wrong.report().attempts()),
        (Stopped::Fatal, 1)
    );
    Ok(())
}
