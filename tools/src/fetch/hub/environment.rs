//! What the environment says about the hub: the variables of the Hugging Face tools.

use std::path::PathBuf;
use std::time::Duration;

/// Where the hub is, who asks, and what is here already.
#[derive(Debug, Clone)]
pub struct Environment {
    /// `HF_ENDPOINT`: address of the hub or a mirror, without a slash at the end.
    pub endpoint: String,
    /// `HF_TOKEN`: sent to the endpoint, and to no other host.
    pub token: Option<String>,
    /// `HF_HUB_CACHE`, or `hub` in `HF_HOME`: downloads of other tools.
    pub cache: Option<PathBuf>,
    /// `HF_HUB_OFFLINE`: the hub is not to be asked.
    pub offline: bool,
    /// `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`.
    pub proxy: Option<ureq::Proxy>,
    /// How long to wait for it.
    pub patience: Patience,
}

/// How long to wait, and how often to try again.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Until a connection stands.
    pub connect: Duration,
    /// Until the next bytes of an answer.
    pub stall: Duration,
    /// Attempts in a row that bring nothing.
    pub attempts: u32,
    /// Between two attempts; doubled each time.
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience {
            connect: Duration::from_secs(8),
            stall: Duration::from_secs(30),
            attempts: 5,
            pause: Duration::from_secs(1),
        }
    }
}

impl Environment {
    /// Reads the process's environment.
    pub fn read() -> Environment {
        Environment {
            proxy: ureq::Proxy::try_from_env(),
            ..Self::from_variables(|name| std::env::var(name).ok().filter(|value| !value.trim().is_empty()))
        }
    }

    /// The environment in which `variable` gives the values, without a proxy.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Environment {
        let home = || Some(PathBuf::from(variable("HOME").or_else(|| variable("USERPROFILE"))?));
        let user_cache = || variable("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| Some(home()?.join(".cache")));
        let hugging_face =
            || variable("HF_HOME").map(PathBuf::from).or_else(|| Some(user_cache()?.join("huggingface")));
        let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned());
        let offline = variable("HF_HUB_OFFLINE").unwrap_or_default();
        Environment {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            token: variable("HF_TOKEN").map(|token| token.trim().to_owned()),
            cache: variable("HF_HUB_CACHE").map(PathBuf::from).or_else(|| Some(hugging_face()?.join("hub"))),
            offline: ["1", "on", "yes", "true"].contains(&offline.to_lowercase().as_str()),
            proxy: None,
            patience: Patience::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        let find = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Environment::from_variables(find)
    }

    #[test]
    fn variables_mean_what_they_mean_to_other_tools() {
        let plain = environment(&[("HOME", "/home/ada")]);
        assert_eq!(plain.endpoint, "https://huggingface.co");
        assert_eq!(plain.cache, Some("/home/ada/.cache/huggingface/hub".into()));
        assert!(!plain.offline && plain.token.is_none());

        let cache = |variables: &[(&str, &str)]| environment(variables).cache;
        assert_eq!(cache(&[("XDG_CACHE_HOME", "/c")]), Some("/c/huggingface/hub".into()));
        assert_eq!(cache(&[("XDG_CACHE_HOME", "/c"), ("HF_HOME", "/hf")]), Some("/hf/hub".into()));
        assert_eq!(cache(&[("HF_HOME", "/hf"), ("HF_HUB_CACHE", "/hub")]), Some("/hub".into()));
        assert_eq!(cache(&[]), None);

        let mirror = environment(&[("HF_ENDPOINT", "https://mirror.example/"), ("HF_TOKEN", " secret\n")]);
        assert_eq!((mirror.endpoint.as_str(), mirror.token.as_deref()), ("https://mirror.example", Some("secret")));
        for (value, offline) in [("1", true), ("TRUE", true), ("Yes", true), ("on", true), ("0", false), ("no", false)]
        {
            assert_eq!(environment(&[("HF_HUB_OFFLINE", value)]).offline, offline, "{value}");
        }
    }
}
