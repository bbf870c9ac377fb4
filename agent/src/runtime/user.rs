//! Who runs a container: `User` of an image is a name or a number, and names are those of the
//! image's own `/etc/passwd` and `/etc/group`.

use super::spec::User;

/// The user text names somebody the image doesn't know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No such user.
    #[error("unable to find user {0}: no matching entries in passwd file")]
    User(String),
    /// No such group.
    #[error("unable to find group {0}: no matching entries in group file")]
    Group(String),
}

/// Resolves an image's `User` (`""`, `uid`, `name`, `uid:gid`, `name:group`) against the texts of
/// its account files (empty where missing).
///
/// # Errors
/// [`Error`] naming who was not found.
pub fn resolve(user: &str, passwd: &str, group: &str) -> Result<User, Error> {
    let (user, wanted_group) = match user.split_once(':') {
        Some((u, g)) => (u, Some(g)),
        None => (user, None),
    };
    let mut entry = None;
    for line in passwd.lines() {
        let fields: Vec<_> = line.split(':').collect();
        let (Some(name), Some(Ok(uid)), Some(Ok(gid))) = (
            fields.first(),
            fields.get(2).map(|f| f.parse::<u32>()),
            fields.get(3).map(|f| f.parse::<u32>()),
        ) else {
            continue;
        };
        if *name == user || user.parse() == Ok(uid) || (user.is_empty() && uid == 0) {
            entry = Some(((*name).to_owned(), uid, gid));
            break;
        }
    }
    let (name, uid, gid) = match (entry, user.parse::<u32>()) {
        (Some((name, uid, gid)), _) => (name, uid, gid),
        (None, Ok(uid)) => (String::new(), uid, 0),
        (None, Err(_)) if user.is_empty() => (String::new(), 0, 0),
        (None, Err(_)) => return Err(Error::User(user.to_owned())),
    };
    let groups = || {
        group.lines().filter_map(|line| {
            let fields: Vec<_> = line.split(':').collect();
            let gid = fields.get(2)?.parse::<u32>().ok()?;
            Some((
                fields[0].to_owned(),
                gid,
                fields.get(3).copied().unwrap_or("").to_owned(),
            ))
        })
    };
    match wanted_group {
        Some(wanted) => {
            let gid = match (groups().find(|(n, _, _)| n == wanted), wanted.parse()) {
                (Some((_, gid, _)), _) | (None, Ok(gid)) => gid,
                (None, Err(_)) => return Err(Error::Group(wanted.to_owned())),
            };
            Ok(User {
                uid,
                gid,
                groups: Vec::new(),
            })
        }
        None => {
            let member = |members: &str| members.split(',').any(|m| m == name);
            let further = if name.is_empty() {
                Vec::new()
            } else {
                groups()
                    .filter(|(_, g, m)| *g != gid && member(m))
                    .map(|(_, g, _)| g)
                    .collect()
            };
            Ok(User {
                uid,
                gid,
                groups: further,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/:/bin/false\nbroken\n";
    const GROUP: &str = "root:x:0:\nwww:x:34:\nlog:x:50:web,root\nbroken\n";

    #[test]
    fn names_and_numbers() {
        let user = |uid, gid, groups: &[u32]| {
            Ok(User {
                uid,
                gid,
                groups: groups.to_vec(),
            })
        };
        for (text, want) in [
            ("", user(0, 0, &[50])),
            ("root", user(0, 0, &[50])),
            ("web", user(33, 34, &[50])),
            ("33", user(33, 34, &[50])),
            ("web:log", user(33, 50, &[])),
            ("1000:7", user(1000, 7, &[])),
            ("1000", user(1000, 0, &[])),
            ("nobody", Err(Error::User("nobody".to_owned()))),
            ("web:crew", Err(Error::Group("crew".to_owned()))),
        ] {
            assert_eq!(resolve(text, PASSWD, GROUP), want, "{text:?}");
        }
        assert_eq!(resolve("", "", ""), user(0, 0, &[]));
    }
}
