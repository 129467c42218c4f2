//! A database of one test, in a container that goes with it (D-40).

use std::time::{Duration, Instant};

use super::project::{Executed, LABEL, Project, execute, succeed};
use crate::verdict::{Failure, Verdict};

/// How long it may take to answer, and the pause between two looks.
const LIMIT: Duration = Duration::from_secs(30);
const INTERVAL: Duration = Duration::from_millis(50);

const USER: &str = "single";
const PASSWORD: &str = "of this test";

/// A PostgreSQL in a container. Dropping it removes the container; when the test is killed before,
/// the session removes it with the project whose label it has.
pub struct OwnDatabase {
    id: String,
}

impl OwnDatabase {
    /// Starts one and waits until it answers.
    ///
    /// # Errors
    /// UNTESTABLE without the image, FAIL when it does not start or answer.
    pub async fn start(project: &Project) -> Result<Self, Failure> {
        let images = super::images().map_err(Failure::untestable)?;
        let image = images.get("POSTGRES_IMAGE");
        let image = image.ok_or_else(|| Failure::untestable("there is no image of PostgreSQL"))?;
        project.begin()?;
        let [label, user, password] = [
            format!("{LABEL}={}", project.name()),
            format!("POSTGRES_USER={USER}"),
            format!("POSTGRES_PASSWORD={PASSWORD}"),
        ];
        let run = ["run", "--detach", "--label", &label, "--env", &user, "--env", &password, image];
        let database = Self { id: succeed(&run).await?.trim().to_owned() };
        let begun = Instant::now();
        while execute(&database.id, &["pg_isready", "--host", "127.0.0.1"]).await?.code != Some(0) {
            if begun.elapsed() > LIMIT {
                return Err(Failure::fail(format!("the database does not answer after {} s", LIMIT.as_secs())));
            }
            tokio::time::sleep(INTERVAL).await;
        }
        Ok(database)
    }

    /// What `psql` comes to with a statement, over TCP with the password of this database or another.
    ///
    /// # Errors
    /// FAIL when the container cannot be asked.
    pub async fn query(&self, statement: &str, password: Option<&str>) -> Result<Executed, Failure> {
        let secret = format!("PGPASSWORD={}", password.unwrap_or(PASSWORD));
        // By its outer address: on the loopback device the official image asks for no password.
        let script =
            format!("exec psql --host $(hostname -i) --username {USER} --no-align --tuples-only --command \"$0\"");
        execute(&self.id, &["env", &secret, "sh", "-c", &script, statement]).await
    }

    /// Removes the container.
    ///
    /// # Errors
    /// FAIL when it stays.
    pub async fn remove(self) -> Verdict {
        succeed(&["rm", "--force", "--volumes", &self.id]).await.map(drop)
    }
}

impl Drop for OwnDatabase {
    fn drop(&mut self) {
        // One that was removed is no longer there, which is what is wanted.
        let _ = std::process::Command::new("docker").args(["rm", "--force", "--volumes", &self.id]).output();
    }
}
