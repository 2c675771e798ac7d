//! The state of one moment, as an API server that changes nothing.

use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use orrery_api::message::{Request, Response, Service};
use orrery_api::random::Random;
use orrery_api::status::ApiError;
use orrery_api::task::TaskGroup;
use orrery_apiserver::{ApiServer, Kinds, Options};
use orrery_store::{MemoryDisk, Operation, Store, Transaction};

use super::history::Written;

/// An API server over the state of a moment, which can be exchanged for another.
pub struct Frozen {
    kinds: Kinds,
    moment: RwLock<Moment>,
}

struct Moment {
    server: Arc<ApiServer>,
    /// What keeps the server's cache filled; ends with the moment.
    _tasks: TaskGroup,
}

impl Frozen {
    /// The state after `written`, of objects of `kinds`.
    pub async fn new(kinds: Kinds, written: &[Written]) -> Result<Arc<Self>, String> {
        let moment = RwLock::new(build(kinds, written).await?);
        Ok(Arc::new(Frozen { kinds, moment }))
    }

    /// Shows the state after `written` from now on. Watches of the former moment say no more.
    pub async fn show(&self, written: &[Written]) -> Result<(), String> {
        let moment = build(self.kinds, written).await?;
        *self.moment.write().unwrap_or_else(PoisonError::into_inner) = moment;
        Ok(())
    }
}

async fn build(kinds: Kinds, written: &[Written]) -> Result<Moment, String> {
    let store = Store::open(Arc::new(MemoryDisk::new()), orrery_store::Options::default())
        .await
        .map_err(|error| error.to_string())?;
    for written in written {
        let mut transaction = Transaction::new();
        for (key, value) in &written.changes {
            transaction = transaction.then(match value {
                Some(value) => Operation::Put {
                    key: key.as_str().into(),
                    value: value.clone().into_bytes().into(),
                    lease: None,
                },
                None => Operation::Delete {
                    key: key.as_str().into(),
                    last: None,
                },
            });
        }
        store.commit(transaction).await.map_err(|error| error.to_string())?;
        if store.revision() != written.revision {
            return Err(format!(
                "the recording does not fit: revision {} became {}",
                written.revision,
                store.revision()
            ));
        }
    }
    let options = Options {
        kinds,
        ..Options::default()
    };
    let server = ApiServer::new(store, options, Random::from_number(0));
    let tasks = TaskGroup::new();
    let own = server.clone();
    tasks.spawn(async move { own.follow().await });
    Ok(Moment { server, _tasks: tasks })
}

#[async_trait]
impl Service for Frozen {
    async fn call(&self, request: Request) -> Response {
        if !matches!(request.method().as_str(), "GET" | "HEAD" | "OPTIONS") {
            return ApiError::new(
                405,
                "MethodNotAllowed",
                "this cluster is a recording, frozen at a moment: it can be looked at, and nothing in it changed",
            )
            .into_response();
        }
        let server = self
            .moment
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .server
            .clone();
        server.call(request).await
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use orrery_api::message::{Direct, Identity};
    use orrery_api::meta::ObjectKey;
    use orrery_client::{Api, Client};

    use super::*;

    fn written(revision: u64, value: Option<&str>) -> Written {
        let object = |value: &str| {
            format!(
                r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"a","namespace":"default","uid":"u","resourceVersion":"{revision}"}},"data":{{"at":"{value}"}}}}"#
            )
        };
        Written {
            at: revision,
            revision,
            changes: vec![("/registry/configmaps/default/a".to_owned(), value.map(object))],
        }
    }

    #[tokio::test]
    async fn each_moment_shows_its_state_and_refuses_changes() {
        let history = [written(2, Some("first")), written(3, Some("second")), written(4, None)];
        let frozen = Frozen::new(Kinds::default(), &history[..1]).await.expect("a moment");
        let direct = Direct::new(frozen.clone(), Identity::new("admin", &["system:masters"]));
        let client = Client::new(Arc::new(direct), "test");
        let api: Api<ConfigMap> = Api::new(&client);
        let key = ObjectKey::new("default", "a");
        let shown = api.get(&key).await.expect("it is there");
        assert_eq!(shown.data.as_ref().map(|data| data["at"].as_str()), Some("first"));
        frozen.show(&history[..2]).await.expect("a moment");
        let later = api.get(&key).await.expect("it is there");
        assert_eq!(later.metadata.resource_version.as_deref(), Some("3"));
        let refused = api.replace(&later).await.expect_err("nothing can be changed");
        assert!(refused.to_string().contains("recording"), "{refused}");
        frozen.show(&history).await.expect("a moment");
        assert!(api.get(&key).await.expect_err("it is gone").is_not_found());
    }

    #[tokio::test]
    async fn a_recording_that_begins_late_is_refused() {
        let error = Frozen::new(Kinds::default(), &[written(7, Some("late"))]).await.err();
        assert_eq!(
            error.as_deref(),
            Some("the recording does not fit: revision 7 became 2")
        );
    }
}
