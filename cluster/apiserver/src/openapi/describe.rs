//! What kinds and their main fields mean, in a sentence each: our own words, for `kubectl explain`.

/// What a kind or a part of it is.
pub(super) fn message(name: &str) -> Option<&'static str> {
    MESSAGES
        .iter()
        .find(|(own, _)| *own == name)
        .map(|(_, description)| *description)
}

/// What a field of a message is: its own description, or that of all fields with the name.
pub(super) fn field(message: &str, name: &str) -> Option<&'static str> {
    let own = FIELDS.iter().find(|(of, field, _)| *field == name && *of == message);
    let any = || FIELDS.iter().find(|(of, field, _)| *field == name && of.is_empty());
    own.or_else(any).map(|(_, _, description)| *description)
}

const MESSAGES: &[(&str, &str)] = &[
    ("Binding", "A Binding puts a pod on a node."),
    ("ConfigMap", "A ConfigMap holds plain data that pods read."),
    ("Container", "A container of a pod: an image, and how it is run."),
    ("DeleteOptions", "How an object is deleted."),
    (
        "Deployment",
        "A Deployment keeps pods running, and replaces them step by step when their template changes.",
    ),
    ("DeploymentSpec", "What a deployment is to be."),
    ("DeploymentStatus", "How far a deployment has come."),
    (
        "EndpointSlice",
        "An EndpointSlice holds some of the addresses behind a service.",
    ),
    (
        "Endpoints",
        "Endpoints hold all the addresses behind a service; EndpointSlices are their successor.",
    ),
    ("Event", "An Event tells what happened to an object."),
    ("Eviction", "An Eviction asks a pod to leave its node."),
    (
        "LabelSelector",
        "A selector of objects by their labels; all its conditions must be met.",
    ),
    ("Lease", "A Lease tells who leads, or who is alive, and until when."),
    (
        "Namespace",
        "A Namespace is a room for names: objects in different ones may have the same name.",
    ),
    ("Node", "A Node is a machine that runs pods."),
    (
        "ObjectMeta",
        "What every object has: its name, its labels, and what the server knows about it.",
    ),
    ("Pod", "A Pod is a group of containers that run together on one node."),
    ("PodSpec", "What a pod is to be."),
    ("PodStatus", "How a pod is; it may lag behind."),
    ("PodTemplateSpec", "What the pods that are made from it will be."),
    ("Probe", "A question put to a container again and again."),
    ("ReplicaSet", "A ReplicaSet keeps so many pods of one template running."),
    ("Scale", "A Scale is the number of replicas of an object."),
    ("Secret", "A Secret holds data that only those who may should read."),
    ("Service", "A Service is one name and address for the pods behind it."),
    (
        "ServiceAccount",
        "A ServiceAccount is who pods are when they speak to the API.",
    ),
    ("ServiceSpec", "What a service is to be."),
    ("Status", "The outcome of a request that has no object to answer with."),
    ("Volume", "Files that containers of a pod can mount."),
];

const FIELDS: &[(&str, &str, &str)] = &[
    ("", "apiVersion", "The group and version of the kind."),
    ("", "kind", "The kind of the object."),
    ("", "metadata", "The object's name, labels and the like."),
    ("", "spec", "What is wanted."),
    ("", "status", "What is the case; written by the system."),
    ("Container", "args", "Arguments; in place of the image's own."),
    (
        "Container",
        "command",
        "The program; in place of the image's entry point.",
    ),
    ("Container", "env", "Environment variables."),
    ("Container", "image", "The image."),
    (
        "Container",
        "imagePullPolicy",
        "When the image is pulled: Always, IfNotPresent or Never.",
    ),
    (
        "Container",
        "livenessProbe",
        "Whether the container lives; it is restarted when it does not.",
    ),
    ("Container", "name", "The name, unique in the pod."),
    ("Container", "ports", "Ports that the container listens on."),
    (
        "Container",
        "readinessProbe",
        "Whether the container is ready; services pass it by while it is not.",
    ),
    (
        "Container",
        "resources",
        "What the container asks for and may use at most.",
    ),
    ("Container", "volumeMounts", "Where volumes appear in the container."),
    ("DeploymentSpec", "paused", "Whether changes of the template wait."),
    (
        "DeploymentSpec",
        "replicas",
        "How many pods are wanted; 1 unless said otherwise.",
    ),
    (
        "DeploymentSpec",
        "selector",
        "Which pods are the deployment's; it cannot change.",
    ),
    ("DeploymentSpec", "strategy", "How old pods make room for new ones."),
    ("DeploymentSpec", "template", "What the pods are."),
    ("ObjectMeta", "annotations", "Notes for tools, by key."),
    ("ObjectMeta", "labels", "Labels, by which objects are selected."),
    (
        "ObjectMeta",
        "name",
        "The name, unique among its kind in its namespace.",
    ),
    ("ObjectMeta", "namespace", "The namespace that the object lives in."),
    (
        "ObjectMeta",
        "resourceVersion",
        "When the object last changed, to compare with.",
    ),
    ("ObjectMeta", "uid", "Unique over all objects there ever are."),
    ("PodSpec", "containers", "The containers; there must be one."),
    (
        "PodSpec",
        "initContainers",
        "Containers that run one after the other before the others start.",
    ),
    (
        "PodSpec",
        "nodeName",
        "The node that the pod runs on; the scheduler sets it.",
    ),
    ("PodSpec", "nodeSelector", "Labels that the pod's node must have."),
    (
        "PodSpec",
        "restartPolicy",
        "When ended containers are started again: Always, OnFailure or Never.",
    ),
    (
        "PodSpec",
        "serviceAccountName",
        "Who the pod is when it speaks to the API.",
    ),
    ("PodSpec", "tolerations", "Taints that do not keep the pod off a node."),
    ("PodSpec", "volumes", "Files that containers can mount."),
    ("ServiceSpec", "clusterIP", "The address in the cluster, or None."),
    ("ServiceSpec", "ports", "The ports."),
    ("ServiceSpec", "selector", "Labels of the pods behind the service."),
    (
        "ServiceSpec",
        "type",
        "How the service can be reached: ClusterIP, NodePort, LoadBalancer or ExternalName.",
    ),
];
