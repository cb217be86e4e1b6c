//! Who may use the server, and how much of it.

use std::convert::Infallible;
use std::fmt;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args};

/// Who may use the server.
#[derive(Args, Clone, Debug)]
pub struct Clients {
    /// Key that clients have to send, as `Authorization: Bearer KEY`; may be given several times. Others on this machine can
    /// read command lines: the variable and --api-key-file are better places
    #[arg(long, env = "LOCKSTEP_API_KEY", hide_env_values = true, value_name = "KEY", value_delimiter = ',')]
    pub api_key: Vec<ApiKey>,
    /// File with such keys, one a line; empty lines and those that begin with # are left out
    #[arg(long, env = "LOCKSTEP_API_KEY_FILE", value_name = "FILE")]
    pub api_key_file: Option<PathBuf>,
    /// Listen on an address that others can reach although no key keeps them out
    #[arg(long, env = "LOCKSTEP_ALLOW_UNAUTHENTICATED", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub allow_unauthenticated: bool,
    /// Sites whose pages may use the server from a browser, exactly as browsers write them: https://a.example,http://localhost:3000
    #[arg(long, env = "LOCKSTEP_CORS_ORIGINS", value_name = "ORIGINS", value_delimiter = ',')]
    pub cors_origins: Vec<String>,
}

/// A key as it was typed. Neither messages nor logs show it.
#[derive(Clone)]
pub struct ApiKey(pub String);

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(..)")
    }
}

impl FromStr for ApiKey {
    /// Anything is taken here, since clap would show what it refuses.
    type Err = Infallible;

    fn from_str(text: &str) -> Result<ApiKey, Infallible> {
        Ok(ApiKey(text.to_string()))
    }
}

/// How much of the server a client may take.
#[derive(Args, Clone, Copy, Debug)]
pub struct Limits {
    /// End a generation that takes longer than SECONDS, its turn in the queue included; 0 lets it take its time
    #[arg(long, env = "LOCKSTEP_REQUEST_TIMEOUT", value_name = "SECONDS", default_value_t = 1800)]
    request_timeout: u64,
    /// Leave a client that keeps the server waiting for SECONDS: for the rest of a request, for the next one, or to take what
    /// was sent
    #[arg(long, env = "LOCKSTEP_CLIENT_TIMEOUT", value_name = "SECONDS", default_value = "30")]
    client_timeout: NonZeroU64,
    /// Refuse requests whose body has more than BYTES
    #[arg(long, env = "LOCKSTEP_MAX_BODY_BYTES", value_name = "BYTES", default_value_t = 1 << 20)]
    pub max_body_bytes: usize,
}

impl Limits {
    /// What a generation may take; nothing if it may take any time.
    pub fn request_timeout(&self) -> Option<Duration> {
        Some(Duration::from_secs(self.request_timeout)).filter(|limit| !limit.is_zero())
    }

    /// How long a client is waited for.
    pub fn client_timeout(&self) -> Duration {
        // A century: what a clock can tell is no more everywhere.
        Duration::from_secs(self.client_timeout.get().min(u32::MAX.into()))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::{Cli, Command};

    #[test]
    fn a_key_is_not_shown() {
        let cli = Cli::parse_from(["lockstep", "serve", "--api-key", "first-secret,second", "--api-key", "third"]);
        assert!(!format!("{cli:?}").contains("secret"));
        let Command::Serve(serve) = cli.command else { panic!("the command is serve") };
        let keys: Vec<&str> = serve.clients.api_key.iter().map(|key| key.0.as_str()).collect();
        assert_eq!(keys, ["first-secret", "second", "third"]);
    }

    #[test]
    fn no_time_at_all_is_no_limit() {
        let limits = |seconds| {
            let Command::Serve(serve) = Cli::parse_from(["lockstep", "serve", "--request-timeout", seconds]).command
            else {
                panic!("the command is serve")
            };
            serve.limits.request_timeout()
        };
        assert_eq!((limits("0"), limits("2")), (None, Some(std::time::Duration::from_secs(2))));
        assert!(Cli::try_parse_from(["lockstep", "serve", "--client-timeout", "0"]).is_err());
        let most = u64::MAX.to_string();
        let Command::Serve(serve) = Cli::parse_from(["lockstep", "serve", "--client-timeout", &most]).command else {
            panic!("the command is serve")
        };
        assert!(std::time::Instant::now().checked_add(serve.limits.client_timeout()).is_some());
    }
}
