//! The user's kubeconfig: our cluster, user and context go in and out; what others wrote there stays as it is.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use orrery_client::Client;
use orrery_client::https::{Https, TlsError};
use serde_yaml::{Mapping, Value};

use crate::pki::Pair;
use crate::place::rewrite;

/// What a context needs to reach the cluster.
pub struct Access<'a> {
    /// The name of context, cluster and user.
    pub name: &'a str,
    /// `https://…`.
    pub server: &'a str,
    /// The authority's certificate, PEM.
    pub authority: &'a str,
    /// The user's certificate and key.
    pub user: &'a Pair,
}

/// Why a kubeconfig cannot be changed.
#[derive(Debug, thiserror::Error)]
pub enum KubeconfigError {
    /// The file cannot be read or written.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The file is no kubeconfig. It is left as it is.
    #[error("{} is no kubeconfig that can be changed ({reason}); set KUBECONFIG to another file, or mend it", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// The file that kubectl writes to: the first of `KUBECONFIG`, else `~/.kube/config`.
pub fn path_of_environment() -> Option<PathBuf> {
    let named = std::env::var_os("KUBECONFIG");
    let first = named
        .iter()
        .flat_map(std::env::split_paths)
        .find(|path| !path.as_os_str().is_empty());
    first.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".kube").join("config")))
}

/// Adds `access` and makes its context the current one.
pub fn merge(path: &Path, access: &Access<'_>) -> Result<(), KubeconfigError> {
    let mut config = read(path)?;
    add(&mut config, access).map_err(|reason| KubeconfigError::Malformed {
        path: path.to_owned(),
        reason,
    })?;
    write(path, &config)
}

/// What a kubeconfig says about reaching a cluster.
pub struct Found {
    /// `https://…`.
    pub server: String,
    /// The authority's certificate, PEM.
    pub authority: Vec<u8>,
    /// The user's certificate, PEM.
    pub certificate: Vec<u8>,
    /// The user's key, PEM.
    pub key: Vec<u8>,
}

impl Found {
    /// A client of that cluster, which calls itself `agent`.
    pub fn client(&self, agent: &str) -> Result<Client, TlsError> {
        let address = self.server.trim_start_matches("https://");
        let transport = Https::new(address, &self.authority, &self.certificate, &self.key)?;
        Ok(Client::new(Arc::new(transport), agent))
    }
}

/// Reads what `path` says about the cluster and user called `name`.
pub fn access(path: &Path, name: &str) -> Result<Found, KubeconfigError> {
    let config = read(path)?;
    let missing = |what: &str| KubeconfigError::Malformed {
        path: path.to_owned(),
        reason: format!("{what} of {name:?} is missing"),
    };
    let entry = |list: &str, field: &str| {
        let items = config.get(list)?.as_sequence()?;
        items
            .iter()
            .find(|item| item.get("name").and_then(Value::as_str) == Some(name))?
            .get(field)
    };
    let cluster = entry("clusters", "cluster").ok_or_else(|| missing("the cluster"))?;
    let user = entry("users", "user").ok_or_else(|| missing("the user"))?;
    let text = |value: &Value, field: &str| value.get(field).and_then(Value::as_str).map(str::to_owned);
    let data = |value: &Value, field: &str| {
        let text = text(value, field).ok_or_else(|| missing(field))?;
        STANDARD.decode(text).map_err(|_| missing(field))
    };
    Ok(Found {
        server: text(cluster, "server").ok_or_else(|| missing("server"))?,
        authority: data(cluster, "certificate-authority-data")?,
        certificate: data(user, "client-certificate-data")?,
        key: data(user, "client-key-data")?,
    })
}

/// Adds what `from` says about `name` to `to`, and makes its context the current one.
pub fn copy(from: &Path, to: &Path, name: &str) -> Result<(), KubeconfigError> {
    let found = access(from, name)?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let user = Pair {
        certificate: text(found.certificate),
        key: text(found.key),
    };
    let authority = text(found.authority);
    merge(
        to,
        &Access {
            name,
            server: &found.server,
            authority: &authority,
            user: &user,
        },
    )
}

/// Takes everything named `name` out again. Nothing happens when there is no such file.
pub fn remove(path: &Path, name: &str) -> Result<(), KubeconfigError> {
    if !path.exists() {
        return Ok(());
    }
    let mut config = read(path)?;
    for list in ["clusters", "users", "contexts"] {
        if let Some(Value::Sequence(items)) = config.get_mut(list) {
            items.retain(|item| item.get("name").and_then(Value::as_str) != Some(name));
        }
    }
    if config.get("current-context").and_then(Value::as_str) == Some(name) {
        config.insert("current-context".into(), "".into());
    }
    write(path, &config)
}

fn read(path: &Path) -> Result<Mapping, KubeconfigError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => {
            return Err(io::Error::new(error.kind(), format!("cannot read {}: {error}", path.display())).into());
        }
    };
    let malformed = |reason: String| KubeconfigError::Malformed {
        path: path.to_owned(),
        reason,
    };
    match serde_yaml::from_str(&text).map_err(|error| malformed(error.to_string()))? {
        Value::Null => Ok(Mapping::new()),
        Value::Mapping(config) => Ok(config),
        _ => Err(malformed("it is not a mapping".to_owned())),
    }
}

fn write(path: &Path, config: &Mapping) -> Result<(), KubeconfigError> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let text = serde_yaml::to_string(config).map_err(io::Error::other)?;
    // A kubeconfig may be a link into somebody's dotfiles: what it points to is written, not the link.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    rewrite(&target, text.as_bytes())?;
    Ok(())
}

fn add(config: &mut Mapping, access: &Access<'_>) -> Result<(), String> {
    config.entry("apiVersion".into()).or_insert("v1".into());
    config.entry("kind".into()).or_insert("Config".into());
    let mut cluster = Mapping::new();
    cluster.insert(
        "certificate-authority-data".into(),
        STANDARD.encode(access.authority).into(),
    );
    cluster.insert("server".into(), access.server.into());
    put(config, "clusters", access.name, "cluster", cluster)?;
    let mut user = Mapping::new();
    user.insert(
        "client-certificate-data".into(),
        STANDARD.encode(&access.user.certificate).into(),
    );
    user.insert("client-key-data".into(), STANDARD.encode(&access.user.key).into());
    put(config, "users", access.name, "user", user)?;
    let mut context = Mapping::new();
    context.insert("cluster".into(), access.name.into());
    context.insert("user".into(), access.name.into());
    context.insert("namespace".into(), "default".into());
    put(config, "contexts", access.name, "context", context)?;
    config.insert("current-context".into(), access.name.into());
    Ok(())
}

fn put(config: &mut Mapping, list: &str, name: &str, field: &str, content: Mapping) -> Result<(), String> {
    let items = config.entry(list.into()).or_insert(Value::Sequence(Vec::new()));
    if items.is_null() {
        *items = Value::Sequence(Vec::new());
    }
    let items = items
        .as_sequence_mut()
        .ok_or_else(|| format!("its {list} are no list"))?;
    let mut entry = Mapping::new();
    entry.insert("name".into(), name.into());
    entry.insert(field.into(), Value::Mapping(content));
    match items
        .iter_mut()
        .find(|item| item.get("name").and_then(Value::as_str) == Some(name))
    {
        Some(item) => *item = Value::Mapping(entry),
        None => items.push(Value::Mapping(entry)),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHERS: &str = "apiVersion: v1\nkind: Config\nclusters:\n- name: work\n  cluster: {server: 'https://w', x: 1}\nusers: []\ncontexts: null\ncurrent-context: work\n";

    fn access(user: &Pair) -> Access<'_> {
        Access {
            name: "orrery",
            server: "https://127.0.0.1:6443",
            authority: "CA",
            user,
        }
    }

    #[test]
    fn what_others_wrote_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config");
        fs::write(&path, OTHERS).expect("writable");
        let user = Pair {
            certificate: "C".into(),
            key: "K".into(),
        };
        merge(&path, &access(&user)).expect("merged");
        merge(&path, &access(&user)).expect("merged twice");
        let merged: Value = serde_yaml::from_str(&fs::read_to_string(&path).expect("there")).expect("YAML");
        assert_eq!(merged["current-context"], "orrery");
        assert_eq!(merged["clusters"].as_sequence().map(Vec::len), Some(2));
        assert_eq!(merged["clusters"][0]["cluster"]["x"], 1);
        remove(&path, "orrery").expect("removed");
        let left: Value = serde_yaml::from_str(&fs::read_to_string(&path).expect("there")).expect("YAML");
        assert_eq!(left["clusters"].as_sequence().map(Vec::len), Some(1));
        assert_eq!(left["current-context"], "");
    }

    #[test]
    fn the_file_stays_its_owners() {
        use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config");
        fs::write(&path, OTHERS).expect("writable");
        // Who may not give it away has it in the end as in the beginning.
        let _ = chown(&path, Some(1234), Some(5678));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("its mode");
        let whose = || {
            let found = fs::metadata(&path).expect("there");
            (found.uid(), found.gid(), found.mode() & 0o777)
        };
        let before = whose();
        let user = Pair {
            certificate: "C".into(),
            key: "K".into(),
        };
        merge(&path, &access(&user)).expect("merged");
        assert_eq!(whose(), before);
        remove(&path, "orrery").expect("removed");
        assert_eq!(whose(), before);
    }

    #[test]
    fn a_file_that_is_no_kubeconfig_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config");
        let user = Pair {
            certificate: "C".into(),
            key: "K".into(),
        };
        for text in ["- a\n- b\n", "clusters: 7\n", "a: [\n"] {
            fs::write(&path, text).expect("writable");
            assert!(
                matches!(merge(&path, &access(&user)), Err(KubeconfigError::Malformed { .. })),
                "{text}"
            );
            assert_eq!(fs::read_to_string(&path).expect("there"), text);
        }
    }
}
