//! The table made navigable: messages by name and by kind, fields by JSON name and by protobuf number.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use super::table::{self, Row};
use super::{Cardinality, Field, Go, ListType, PatchStrategy, Type};

/// API groups and the protobuf package of their messages, before the version.
const GROUPS: &[(&str, &str)] = &[
    ("", "api.core"),
    ("apps", "api.apps"),
    ("authentication.k8s.io", "api.authentication"),
    ("authorization.k8s.io", "api.authorization"),
    ("autoscaling", "api.autoscaling"),
    ("batch", "api.batch"),
    ("certificates.k8s.io", "api.certificates"),
    ("coordination.k8s.io", "api.coordination"),
    ("discovery.k8s.io", "api.discovery"),
    ("events.k8s.io", "api.events"),
    ("meta.k8s.io", "apimachinery.pkg.apis.meta"),
    ("networking.k8s.io", "api.networking"),
    ("node.k8s.io", "api.node"),
    ("policy", "api.policy"),
    ("rbac.authorization.k8s.io", "api.rbac"),
    ("scheduling.k8s.io", "api.scheduling"),
    ("storage.k8s.io", "api.storage"),
];

/// The package of what every group shares: options, Status, ObjectMeta.
const META: &str = "apimachinery.pkg.apis.meta.v1";

/// A message: an object with known fields.
#[derive(Debug)]
pub struct Message {
    /// The full name in protobuf, such as `api.apps.v1.DeploymentSpec`.
    pub name: &'static str,
    index: u32,
    /// Its lines in the table.
    lines: &'static str,
    /// What they say, once somebody asks: a process knows a few dozen of a thousand messages.
    own: OnceLock<Vec<Field>>,
    /// Where to find a JSON name: (message, index among its own fields). Inlined messages' fields are here too.
    json: OnceLock<BTreeMap<&'static str, (u32, u32)>>,
}

impl Message {
    fn own(&self) -> &[Field] {
        self.own.get_or_init(|| {
            let by_name = &Schema::get().by_name;
            table::rows(self.lines)
                .iter()
                .filter_map(|row| field(row, by_name))
                .collect()
        })
    }

    fn json(&self) -> &BTreeMap<&'static str, (u32, u32)> {
        self.json.get_or_init(|| {
            let mut names = BTreeMap::new();
            self.collect_json_names(&mut names);
            names
        })
    }

    fn collect_json_names(&self, names: &mut BTreeMap<&'static str, (u32, u32)>) {
        for (position, field) in self.own().iter().enumerate() {
            match field.element {
                Type::Message(inner) if field.inline && inner != self.index => {
                    if let Some(inner) = Schema::get().at(inner) {
                        inner.collect_json_names(names);
                    }
                }
                _ => {
                    names.insert(field.name, (self.index, position as u32));
                }
            }
        }
    }

    /// The field with a JSON name, also one of a message that JSON inlines into this one.
    pub fn field(&self, json_name: &str) -> Option<&'static Field> {
        let &(message, index) = self.json().get(json_name)?;
        Schema::get().at(message)?.own().get(index as usize)
    }

    /// The fields that JSON sees, by name.
    pub fn fields(&self) -> impl Iterator<Item = &'static Field> + '_ {
        self.json().keys().filter_map(|name| self.field(name))
    }

    /// The field with a protobuf number, and whether JSON inlines it.
    pub(crate) fn by_number(&self, number: u32) -> Option<(&Field, bool)> {
        self.own()
            .iter()
            .find(|field| field.number == number && number != 0)
            .map(|field| (field, field.inline))
    }

    /// The name without its package, such as `DeploymentSpec`.
    pub fn short_name(&self) -> &'static str {
        self.name.rsplit('.').next().unwrap_or(self.name)
    }

    /// The name as Go's errors spell it: `v1.DeploymentSpec`.
    pub fn go_name(&self) -> String {
        let mut parts = self.name.rsplit('.');
        let (name, package) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        format!("{package}.{name}")
    }

    /// Whether it is a kind: an object with apiVersion and kind.
    pub fn is_kind(&self) -> bool {
        self.own().first().is_some_and(|field| field.number == 0)
    }
}

/// All messages, each read from the table when it is first asked for; the same for everyone.
#[derive(Debug)]
pub struct Schema {
    messages: Vec<Message>,
    by_name: BTreeMap<&'static str, u32>,
}

impl Schema {
    /// The schema of Kubernetes v1.35.
    pub fn get() -> &'static Schema {
        static SCHEMA: OnceLock<Schema> = OnceLock::new();
        SCHEMA.get_or_init(build)
    }

    /// The message of a kind. Options and the like (`DeleteOptions`, `Status`), which every group version knows, are
    /// found under any served group version.
    pub fn message_for(&self, api_version: &str, kind: &str) -> Option<&Message> {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        let (_, package) = GROUPS.iter().find(|(name, _)| *name == group)?;
        self.message(&format!("{package}.{version}.{kind}"))
            .or_else(|| self.message(&format!("{META}.{kind}")))
            .filter(|message| message.is_kind())
    }

    /// A message by its full protobuf name.
    pub fn message(&self, name: &str) -> Option<&Message> {
        self.at(*self.by_name.get(name)?)
    }

    /// A message's field, both by name.
    pub fn field(&self, message: &str, json_name: &str) -> Option<&'static Field> {
        self.message(message)?.field(json_name)
    }

    /// All messages, in the table's order.
    pub fn messages(&self) -> impl Iterator<Item = &Message> {
        self.messages.iter()
    }

    pub(super) fn at(&self, index: u32) -> Option<&Message> {
        self.messages.get(index as usize)
    }
}

fn build() -> Schema {
    let messages: Vec<Message> = table::messages()
        .into_iter()
        .zip(0..)
        .map(|((name, lines), index)| Message {
            name,
            index,
            lines,
            own: OnceLock::new(),
            json: OnceLock::new(),
        })
        .collect();
    let by_name = messages.iter().map(|message| (message.name, message.index)).collect();
    Schema { messages, by_name }
}

fn field(row: &Row, by_name: &BTreeMap<&'static str, u32>) -> Option<Field> {
    let optional = |text: &'static str| (!text.is_empty()).then_some(text);
    Some(Field {
        name: row.name,
        number: row.number,
        cardinality: match row.cardinality {
            "repeated" => Cardinality::List,
            "map" => Cardinality::Map,
            _ => Cardinality::Single,
        },
        element: element(row, by_name)?,
        list_type: match row.list_type {
            "atomic" => Some(ListType::Atomic),
            "set" => Some(ListType::Set),
            "map" => Some(ListType::Map),
            _ => None,
        },
        list_map_keys: row.list_map_keys.split(',').filter(|key| !key.is_empty()).collect(),
        patch_strategy: PatchStrategy {
            merge: row.patch_strategy.split(',').any(|word| word == "merge"),
            replace: row.patch_strategy.split(',').any(|word| word == "replace"),
            retain_keys: row.patch_strategy.split(',').any(|word| word == "retainKeys"),
        },
        patch_merge_key: optional(row.patch_merge_key),
        default: optional(row.default),
        atomic: row.struct_type == "atomic",
        go: Go {
            pointer: row.go.contains('p'),
            omit_empty: row.go.contains('o'),
            omit_zero: row.go.contains('z'),
        },
        go_type: row.go_type,
        inline: row.go.contains('i'),
    })
}

fn element(row: &Row, by_name: &BTreeMap<&'static str, u32>) -> Option<Type> {
    let name = row.type_name;
    let scalar = match name.rsplit('.').next().unwrap_or(name) {
        "string" => Type::String,
        "int32" => Type::Int32,
        "int64" => Type::Int64,
        "bool" => Type::Bool,
        "double" => Type::Double,
        "bytes" => Type::Bytes,
        "Quantity" => Type::Quantity,
        "IntOrString" => Type::IntOrString,
        "Time" => Type::Time,
        "MicroTime" => Type::MicroTime,
        "RawExtension" | "FieldsV1" => Type::Raw,
        "ExtraValue" | "Verbs" => Type::Strings,
        _ => {
            let package = row.message.rsplit_once('.').map_or("", |(package, _)| package);
            let index = match name.strip_prefix('.') {
                Some(absolute) => by_name.get(absolute),
                None => by_name.get(format!("{package}.{name}").as_str()),
            };
            return index.copied().map(Type::Message);
        }
    };
    Some(scalar)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_a_field() {
        let schema = Schema::get();
        let fields: usize = schema.messages.iter().map(|message| message.own().len()).sum();
        assert_eq!(fields, table::TEXT.lines().count() - 1);
        assert_eq!(
            schema.messages.len(),
            schema.by_name.len(),
            "a message's lines stand together"
        );
    }

    #[test]
    fn a_kind_is_found_by_its_api_version() {
        let schema = Schema::get();
        let name = |api_version, kind| schema.message_for(api_version, kind).map(|message| message.name);
        assert_eq!(name("apps/v1", "Deployment"), Some("api.apps.v1.Deployment"));
        assert_eq!(name("v1", "Pod"), Some("api.core.v1.Pod"));
        assert_eq!(
            name("discovery.k8s.io/v1", "EndpointSlice"),
            Some("api.discovery.v1.EndpointSlice")
        );
        assert_eq!(
            name("policy/v1", "DeleteOptions"),
            Some("apimachinery.pkg.apis.meta.v1.DeleteOptions")
        );
        assert_eq!(name("v1", "PodSpec"), None, "not a kind");
        assert_eq!(name("apps.example.com/v1", "Deployment"), None, "not a group of ours");
        assert_eq!(name("", ""), None);
    }

    #[test]
    fn fields_of_inlined_messages_belong_to_the_outer_object() {
        let schema = Schema::get();
        let volume = schema.message("api.core.v1.Volume").expect("volumes exist");
        assert!(volume.field("volumeSource").is_none());
        assert_eq!(
            volume.field("emptyDir").map(|field| field.type_name()),
            Some("v1.EmptyDirVolumeSource".into())
        );
        let pod = schema.message_for("v1", "Pod").expect("pods exist");
        assert_eq!(
            pod.fields().map(|f| f.name).collect::<Vec<_>>(),
            ["apiVersion", "kind", "metadata", "spec", "status"]
        );
    }

    #[test]
    fn a_list_knows_its_keys_and_its_patch_strategy() {
        let ports = Schema::get()
            .field("api.core.v1.Container", "ports")
            .expect("containers have ports");
        assert_eq!(ports.list_type, Some(ListType::Map));
        assert_eq!(ports.list_map_keys, ["containerPort", "protocol"]);
        assert_eq!(ports.patch_merge_key, Some("containerPort"));
        assert!(ports.patch_strategy.merge);
        assert_eq!(ports.type_name(), "[]v1.ContainerPort");
        let requests = Schema::get()
            .field("api.core.v1.ResourceRequirements", "requests")
            .expect("they have requests");
        assert_eq!(requests.type_name(), "v1.ResourceList");
        assert_eq!(requests.element, Type::Quantity);
    }
}
