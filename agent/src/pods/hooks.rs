//! Commands and requests for the sake of a container: what hooks and probes do.

use bramble_agent_core::probe::Check;
use bramble_wire::object::PodUid;

use super::{Board, Network};
use crate::error_chain;
use crate::runtime::{ExecConfig, Runtime};

/// Of the output of a command so much is kept.
const OUTPUT_MAX: usize = 10 * 1024;

impl<R: Runtime, N: Network> Board<R, N> {
    /// Runs a hook to its end.
    pub(super) async fn run_hook(&self, uid: PodUid, id: &str, check: &Check) -> Result<(), String> {
        match check {
            Check::Exec(argv) => {
                let config = ExecConfig::captured(argv.clone());
                let session = self.runtime.exec(uid, id, &config).await;
                let session = session.map_err(|error| error_chain(&error))?;
                let ended = session.collect(OUTPUT_MAX).await;
                match ended.map_err(|error| error_chain(&error))? {
                    (0, _) => Ok(()),
                    (code, _) => Err(format!("command ended with {code}")),
                }
            }
            Check::Sleep { seconds } => {
                let pause = std::time::Duration::from_secs((*seconds).into());
                tokio::time::sleep(pause).await;
                Ok(())
            }
            Check::Impossible(why) => Err(why.clone()),
            Check::Http(_) | Check::Tcp { .. } | Check::Grpc { .. } => {
                Err("not supported yet".into())
            }
        }
    }
}
