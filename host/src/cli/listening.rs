//! Where the server listens, and the page that it has.

use std::path::PathBuf;

use clap::Args;

/// Where the server listens, and the page that it has.
#[derive(Args, Clone, Debug)]
pub struct Listening {
    /// Address to listen on; any other than a loopback address opens the server to the network, and needs --api-key
    #[arg(long, env = "LOCKSTEP_HOST", value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub host: String,
    /// Port to listen on; 0 picks a free one
    #[arg(long, env = "LOCKSTEP_PORT", default_value_t = 8080)]
    pub port: u16,
    /// Folder of the page, built by `cargo run --release -p tools -- browser`
    #[arg(long, env = "LOCKSTEP_WEB_ROOT", value_name = "DIR", default_value = "browser/dist")]
    pub web_root: PathBuf,
}

impl Listening {
    /// The address for a socket: an IPv6 address may stand in brackets, as in a URL.
    pub fn bare_host(&self) -> &str {
        self.host.trim_matches(['[', ']'])
    }
}
