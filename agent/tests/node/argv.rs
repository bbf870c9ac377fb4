//! What is executed in a container is not for the board's users to read: needs root.
#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use bramble_agent::runtime::{ExecConfig, Runtime};

use crate::support::{Board, pod, uid};

#[tokio::test]
async fn a_command_is_not_on_the_command_line_of_its_helper() {
    let mut board = Board::new();
    let (lines, oci) = (board.dir.join("lines"), board.dir.join("telling-oci"));
    let script = format!(
        "#!/bin/sh\necho \"$*\" >>{}\nexec {} \"$@\"\n",
        lines.display(),
        board.options.oci.display()
    );
    fs::write(&oci, script).unwrap();
    fs::set_permissions(&oci, fs::Permissions::from_mode(0o755)).unwrap();
    board.options.oci = oci;
    let runtime = board.runtime().await;
    let uid = uid();
    runtime.ensure_pod(&pod(uid)).await.unwrap();
    let container = board.container(uid, "a-0", "sleep 600");
    runtime.start_container(uid, &container).await.unwrap();
    // Also what would be taken for an option, and what is empty.
    let argv = ["/bin/echo", "--id", "", "the secret", "--"].map(str::to_owned);
    let config = ExecConfig::captured(argv.to_vec());
    let session = runtime.exec(uid, "a-0", &config).await.unwrap();
    let (code, output) = session.collect(64).await.unwrap();
    assert_eq!((code, &*output), (0, &b"--id  the secret --\n"[..]));
    let lines = fs::read_to_string(lines).unwrap();
    assert!(
        lines.contains("exec ") && !lines.contains("secret"),
        "{lines}"
    );
    runtime.delete_pod(uid).await.unwrap();
    assert_eq!(board.leaks(), Vec::<String>::new());
}
