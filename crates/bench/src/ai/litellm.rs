//! LiteLLM's proxy as `cargo xtask bench` installs it, with one model behind it and no database, as its documentation
//! starts it. It asks nobody for a credential, which is in its favour.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use anyhow::Context;

use crate::process::ServerProcess;

/// The prices of models are in the package; asking the network for newer ones only delays its start.
const SCRIPT: &str = "LITELLM_LOCAL_MODEL_COST_MAP=True exec \"$0\" --config \"$1\" --host 127.0.0.1 --port \"$2\" \
     --num_workers 1 --telemetry False 2>&1";

pub(super) fn start(
    program: &Path,
    directory: &Path,
    upstream: SocketAddr,
) -> anyhow::Result<(ServerProcess, SocketAddr)> {
    let config = directory.join("litellm.yaml");
    let text = format!(
        "model_list:\n  - model_name: bench\n    litellm_params:\n      model: openai/bench\n      api_base: http://{upstream}/v1\n      api_key: sk-upstream\n"
    );
    std::fs::write(&config, text)?;
    // It takes no port of the system's choice. Between these lines somebody else may take this one; then it does not start.
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let port = address.port().to_string();
    let utf8 = "the folder's name is not UTF-8";
    let arguments = [
        "-c",
        SCRIPT,
        program.to_str().context(utf8)?,
        config.to_str().context(utf8)?,
        &port,
    ];
    ServerProcess::start(Path::new("/bin/sh"), &arguments, directory, |line| {
        line.contains("Uvicorn running on").then_some(address)
    })
}
