//! Paths of the board: what must be there is there, or is made (`pkg/volume/hostpath`).

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;

use bramble_wire::object::HostPathKind;

/// Checks or makes a path. Links are followed, as upstream.
///
/// # Errors
/// The kubelet's text.
pub(super) fn ensure(path: &str, kind: HostPathKind) -> Result<(), String> {
    let at = Path::new(path);
    let wrong = |what: &str| {
        Err(format!(
            "hostPath type check failed: {path} is not a {what}"
        ))
    };
    let exists = || fs::metadata(at).is_ok();
    match kind {
        // The runtime makes a directory where nothing is, see `make`.
        HostPathKind::Any => return Ok(()),
        HostPathKind::DirectoryOrCreate if !exists() => {
            return make(at).map_err(|error| format!("mkdir {path}: {error}"));
        }
        HostPathKind::FileOrCreate if !exists() => {
            return fs::OpenOptions::new()
                .create(true)
                .append(true)
                .mode(0o644)
                .open(at)
                .map(drop)
                .map_err(|error| format!("open {path}: {error}"));
        }
        _ => {}
    }
    let Ok(data) = fs::metadata(at) else {
        return wrong(word(kind));
    };
    let is = data.file_type();
    let right = match kind {
        HostPathKind::Any => true,
        HostPathKind::Directory | HostPathKind::DirectoryOrCreate => is.is_dir(),
        HostPathKind::File | HostPathKind::FileOrCreate => is.is_file(),
        HostPathKind::Socket => is.is_socket(),
        HostPathKind::CharDevice => is.is_char_device(),
        HostPathKind::BlockDevice => is.is_block_device(),
    };
    if right { Ok(()) } else { wrong(word(kind)) }
}

fn word(kind: HostPathKind) -> &'static str {
    match kind {
        HostPathKind::Any | HostPathKind::Directory | HostPathKind::DirectoryOrCreate => {
            "directory"
        }
        HostPathKind::File | HostPathKind::FileOrCreate => "file",
        HostPathKind::Socket => "socket file",
        HostPathKind::CharDevice => "character device",
        HostPathKind::BlockDevice => "block device",
    }
}

/// Makes a directory of the board and those above it.
pub(super) fn make(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use HostPathKind::*;

    #[test]
    fn each_type_is_checked_and_the_two_are_made() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().to_str().unwrap().to_owned();
        let at = |name: &str| format!("{root}/{name}");
        fs::create_dir(at("dir")).unwrap();
        fs::write(at("file"), "x").unwrap();
        std::os::unix::fs::symlink(at("file"), at("link")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        let fine = [
            (at("dir"), Directory),
            (at("file"), File),
            (at("link"), File),
            (at("socket"), Socket),
            ("/dev/null".into(), CharDevice),
            (at("made/below"), DirectoryOrCreate),
            (at("made/below"), Directory),
            (at("made/file"), FileOrCreate),
            (at("made/file"), File),
            (at("file"), FileOrCreate),
            (at("missing"), Any),
        ];
        for (path, kind) in fine {
            assert_eq!(ensure(&path, kind), Ok(()), "{path} {kind:?}");
        }
        assert_eq!(fs::read(at("file")).unwrap(), b"x");
        let wrong = [
            (at("file"), Directory, "directory"),
            (at("file"), DirectoryOrCreate, "directory"),
            (at("dir"), File, "file"),
            (at("dir"), FileOrCreate, "file"),
            (at("missing"), Directory, "directory"),
            (at("missing"), File, "file"),
            (at("file"), Socket, "socket file"),
            (at("file"), CharDevice, "character device"),
            ("/dev/null".into(), BlockDevice, "block device"),
        ];
        for (path, kind, word) in wrong {
            let text = format!("hostPath type check failed: {path} is not a {word}");
            assert_eq!(ensure(&path, kind), Err(text), "{kind:?}");
        }
        // The directory of a file is not made.
        assert!(ensure(&at("no/file"), FileOrCreate).is_err());
    }
}
