//! The account that database and broker run under: this user's own, or, since PostgreSQL does
//! not run as root and a broker without a password should not, one without rights.

use std::{
    io,
    path::{Path, PathBuf},
};

/// Who a server runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Account {
    /// This user.
    Own,
    /// Another user, by `setpriv`.
    Other { user: u32, group: u32 },
}

impl Account {
    /// The account for servers on this machine.
    ///
    /// # Errors
    /// With what is missing when this user is root and cannot become anybody else.
    pub(super) fn for_servers() -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self::Own);
        }
        let users = std::fs::read_to_string("/etc/passwd").map_err(|error| format!("/etc/passwd: {error}"))?;
        let (user, group) =
            ids_of(&users, "nobody").ok_or("it does not run as root, and this machine has no user `nobody`")?;
        if on_path("setpriv").is_none() {
            return Err("it does not run as root, and there is no `setpriv` (util-linux) to change the user".into());
        }
        Ok(Self::Other { user, group })
    }

    /// The command line that runs `argv` under this account.
    pub(super) fn argv(&self, argv: Vec<String>) -> Vec<String> {
        match self {
            Self::Own => argv,
            Self::Other { user, group } => {
                let change = [format!("--reuid={user}"), format!("--regid={group}"), "--clear-groups".into()];
                ["setpriv".to_owned()].into_iter().chain(change).chain(argv).collect()
            }
        }
    }

    /// Makes this account the owner of everything below `path`.
    ///
    /// # Errors
    /// The file system's own.
    pub(super) fn give(&self, path: &Path) -> io::Result<()> {
        let Self::Other { user, group } = self else { return Ok(()) };
        std::os::unix::fs::lchown(path, Some(*user), Some(*group))?;
        if path.is_dir() && !path.is_symlink() {
            for entry in std::fs::read_dir(path)? {
                self.give(&entry?.path())?;
            }
        }
        Ok(())
    }
}

/// The user and group ids of `name` in the text of `/etc/passwd`.
fn ids_of(users: &str, name: &str) -> Option<(u32, u32)> {
    let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// The folders of `PATH`.
pub(super) fn path_folders() -> Vec<PathBuf> {
    std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default()
}

/// The first folder of `PATH` that has the program `name`.
pub(super) fn on_path(name: &str) -> Option<PathBuf> {
    path_folders().into_iter().find(|folder| folder.join(name).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pretty_assertions::assert_eq;

    #[test]
    fn ids_are_read_from_the_list_of_users() {
        let users = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65533:nobody:/:/no\nbroken:x\n";
        assert_eq!(ids_of(users, "nobody"), Some((65534, 65533)));
        assert_eq!(ids_of(users, "broken"), None);
        assert_eq!(ids_of(users, "nob"), None);
    }

    #[test]
    fn another_account_is_entered_without_its_groups() {
        let command = Account::Other { user: 7, group: 8 }.argv(vec!["postgres".into()]);
        assert_eq!(command.join(" "), "setpriv --reuid=7 --regid=8 --clear-groups postgres");
        assert_eq!(Account::Own.argv(vec!["postgres".into()]), ["postgres"]);
    }
}
