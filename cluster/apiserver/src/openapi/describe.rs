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

/// The values that a field can have, where they are few.
pub(super) fn values(message: &str, name: &str) -> Option<&'static [&'static str]> {
    VALUES
        .iter()
        .find(|(own, field, _)| *field == name && *own == message)
        .map(|(_, _, values)| *values)
}

const VALUES: &[(&str, &str, &[&str])] = &[
    ("Container", "imagePullPolicy", &["Always", "IfNotPresent", "Never"]),
    (
        "Container",
        "terminationMessagePolicy",
        &["FallbackToLogsOnError", "File"],
    ),
    ("ContainerPort", "protocol", &["SCTP", "TCP", "UDP"]),
    ("DeploymentStrategy", "type", &["Recreate", "RollingUpdate"]),
    ("EndpointSlice", "addressType", &["FQDN", "IPv4", "IPv6"]),
    ("HTTPGetAction", "scheme", &["HTTP", "HTTPS"]),
    ("NamespaceStatus", "phase", &["Active", "Terminating"]),
    (
        "PodSpec",
        "dnsPolicy",
        &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"],
    ),
    ("PodSpec", "preemptionPolicy", &["Never", "PreemptLowerPriority"]),
    ("PodSpec", "restartPolicy", &["Always", "Never", "OnFailure"]),
    (
        "PodStatus",
        "phase",
        &["Failed", "Pending", "Running", "Succeeded", "Unknown"],
    ),
    ("PodStatus", "qosClass", &["BestEffort", "Burstable", "Guaranteed"]),
    ("ServicePort", "protocol", &["SCTP", "TCP", "UDP"]),
    ("ServiceSpec", "externalTrafficPolicy", &["Cluster", "Local"]),
    ("ServiceSpec", "internalTrafficPolicy", &["Cluster", "Local"]),
    ("ServiceSpec", "sessionAffinity", &["ClientIP", "None"]),
    (
        "ServiceSpec",
        "type",
        &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"],
    ),
    ("Taint", "effect", &["NoExecute", "NoSchedule", "PreferNoSchedule"]),
    ("Toleration", "effect", &["NoExecute", "NoSchedule", "PreferNoSchedule"]),
    ("Toleration", "operator", &["Equal", "Exists"]),
    (
        "TopologySpreadConstraint",
        "whenUnsatisfiable",
        &["DoNotSchedule", "ScheduleAnyway"],
    ),
];

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
    ("ConfigMap", "binaryData", "Data that is no text, in base64."),
    ("ConfigMap", "data", "Text by key."),
    ("ConfigMap", "immutable", "Whether the data can never change."),
    ("Container", "args", "Arguments; in place of the image's own."),
    ("Container", "env", "Environment variables."),
    (
        "Container",
        "envFrom",
        "Whole config maps and secrets as environment variables.",
    ),
    ("Container", "image", "The image."),
    (
        "Container",
        "lifecycle",
        "What is done when the container has started, or is about to stop.",
    ),
    ("Container", "name", "The name, unique in the pod."),
    ("Container", "ports", "Ports that the container listens on."),
    ("Container", "securityContext", "What the container may do."),
    (
        "Container",
        "startupProbe",
        "Whether the container has started; the other probes wait for it.",
    ),
    (
        "Container",
        "terminationMessagePath",
        "The file in which the container says why it ended.",
    ),
    ("Container", "volumeMounts", "Where volumes appear in the container."),
    (
        "Container",
        "workingDir",
        "Where the program starts; in place of the image's own.",
    ),
    ("ContainerPort", "containerPort", "The port, 1 to 65535."),
    ("ContainerPort", "hostPort", "The port of the node that leads to it."),
    ("ContainerPort", "name", "A name by which services can refer to it."),
    ("ContainerPort", "protocol", "The protocol; TCP unless said otherwise."),
    (
        "DeploymentSpec",
        "minReadySeconds",
        "How long a new pod must have been ready to be available.",
    ),
    ("DeploymentSpec", "paused", "Whether changes of the template wait."),
    (
        "DeploymentSpec",
        "progressDeadlineSeconds",
        "How long the deployment may make no progress before it says so.",
    ),
    (
        "DeploymentSpec",
        "revisionHistoryLimit",
        "How many old replica sets are kept to go back to.",
    ),
    ("DeploymentSpec", "strategy", "How old pods make room for new ones."),
    ("DeploymentSpec", "template", "What the pods are."),
    (
        "DeploymentStrategy",
        "rollingUpdate",
        "How far a rolling update may stray from the number of pods wanted.",
    ),
    (
        "DeploymentStrategy",
        "type",
        "Whether pods are replaced step by step, or all at once.",
    ),
    ("EnvVar", "name", "The variable's name."),
    ("EnvVar", "value", "Its value."),
    ("EnvVar", "valueFrom", "Where its value is taken from."),
    ("LabelSelector", "matchExpressions", "Conditions on labels."),
    ("LabelSelector", "matchLabels", "Labels that must have these values."),
    ("LeaseSpec", "acquireTime", "When the holder got it."),
    ("LeaseSpec", "holderIdentity", "Who holds the lease."),
    (
        "LeaseSpec",
        "leaseDurationSeconds",
        "How long others wait after the last renewal.",
    ),
    ("LeaseSpec", "leaseTransitions", "How often the holder changed."),
    ("LeaseSpec", "renewTime", "When the holder last renewed it."),
    ("NodeSpec", "podCIDR", "The addresses of the node's pods."),
    ("NodeSpec", "taints", "What keeps pods off the node."),
    ("NodeSpec", "unschedulable", "Whether new pods are kept off the node."),
    ("NodeStatus", "allocatable", "What pods can use."),
    ("NodeStatus", "capacity", "What the node has."),
    ("NodeStatus", "conditions", "How the node is."),
    ("ObjectMeta", "annotations", "Notes for tools, by key."),
    ("ObjectMeta", "creationTimestamp", "When the object was created."),
    ("ObjectMeta", "deletionTimestamp", "When the object is to be gone."),
    ("ObjectMeta", "finalizers", "What must be done before the object goes."),
    (
        "ObjectMeta",
        "generateName",
        "The start of a name that the server completes.",
    ),
    ("ObjectMeta", "generation", "How often the desired state changed."),
    ("ObjectMeta", "labels", "Labels, by which objects are selected."),
    ("ObjectMeta", "managedFields", "Who set which field."),
    ("ObjectMeta", "namespace", "The namespace that the object lives in."),
    ("ObjectMeta", "ownerReferences", "The objects that this one depends on."),
    ("ObjectMeta", "uid", "Unique over all objects there ever are."),
    ("PodSpec", "activeDeadlineSeconds", "How long the pod may run."),
    ("PodSpec", "affinity", "Where the pod should and should not run."),
    ("PodSpec", "containers", "The containers; there must be one."),
    ("PodSpec", "dnsPolicy", "How the pod resolves names."),
    ("PodSpec", "hostNetwork", "Whether the pod shares its node's network."),
    ("PodSpec", "imagePullSecrets", "Secrets by which images are pulled."),
    ("PodSpec", "nodeSelector", "Labels that the pod's node must have."),
    ("PodSpec", "priority", "How important the pod is."),
    ("PodSpec", "schedulerName", "Who finds a node for the pod."),
    ("PodSpec", "securityContext", "What the pod may do."),
    (
        "PodSpec",
        "terminationGracePeriodSeconds",
        "How long the pod may take to stop.",
    ),
    ("PodSpec", "tolerations", "Taints that do not keep the pod off a node."),
    (
        "PodSpec",
        "topologySpreadConstraints",
        "How pods like this one are spread.",
    ),
    ("PodSpec", "volumes", "Files that containers can mount."),
    ("PodStatus", "conditions", "What has been reached."),
    ("PodStatus", "containerStatuses", "How each container is."),
    ("PodStatus", "hostIP", "The address of the node."),
    ("PodStatus", "phase", "Where the pod is in its life."),
    ("PodStatus", "podIP", "The address of the pod."),
    ("PodStatus", "qosClass", "Who goes first when the node runs out."),
    ("PodStatus", "reason", "Why the pod is as it is, in a word."),
    ("Probe", "exec", "A command to run."),
    (
        "Probe",
        "failureThreshold",
        "After how many failures the probe has failed.",
    ),
    ("Probe", "httpGet", "A request to make."),
    ("Probe", "initialDelaySeconds", "How long to wait first."),
    ("Probe", "periodSeconds", "How often to ask."),
    (
        "Probe",
        "successThreshold",
        "After how many successes the probe has succeeded.",
    ),
    ("Probe", "tcpSocket", "A connection to open."),
    ("Probe", "timeoutSeconds", "How long to wait for an answer."),
    (
        "ReplicaSetSpec",
        "replicas",
        "How many pods are wanted; 1 unless said otherwise.",
    ),
    (
        "ReplicaSetSpec",
        "selector",
        "Which pods are the set's; it cannot change.",
    ),
    ("ReplicaSetSpec", "template", "What the pods are."),
    ("ResourceRequirements", "limits", "The most that may be used."),
    ("ResourceRequirements", "requests", "What is set aside."),
    (
        "RollingUpdateDeployment",
        "maxSurge",
        "How many pods more than wanted there may be: a number, or a percentage.",
    ),
    (
        "RollingUpdateDeployment",
        "maxUnavailable",
        "How many pods fewer than wanted may be available: a number, or a percentage.",
    ),
    ("Secret", "data", "Data by key, in base64."),
    ("Secret", "immutable", "Whether the data can never change."),
    (
        "Secret",
        "stringData",
        "Text by key, to write with; it is read back in `data`.",
    ),
    ("Secret", "type", "What the secret is for."),
    ("ServicePort", "name", "The name; needed when there are several ports."),
    (
        "ServicePort",
        "nodePort",
        "The port of every node that leads to the service.",
    ),
    ("ServicePort", "port", "The port of the service."),
    ("ServicePort", "protocol", "The protocol; TCP unless said otherwise."),
    ("ServicePort", "targetPort", "The port of the pods, by number or name."),
    ("ServiceSpec", "clusterIP", "The address in the cluster, or None."),
    (
        "ServiceSpec",
        "externalIPs",
        "Addresses of others that lead to the service.",
    ),
    ("ServiceSpec", "externalName", "The name that the service stands for."),
    (
        "ServiceSpec",
        "externalTrafficPolicy",
        "Whether traffic from outside may go to pods of other nodes.",
    ),
    (
        "ServiceSpec",
        "internalTrafficPolicy",
        "Whether traffic from inside may go to pods of other nodes.",
    ),
    ("ServiceSpec", "ports", "The ports."),
    ("ServiceSpec", "selector", "Labels of the pods behind the service."),
    ("ServiceSpec", "sessionAffinity", "Whether a client stays with a pod."),
    ("Taint", "effect", "What happens to pods that do not tolerate it."),
    ("Taint", "key", "The taint's key."),
    ("Taint", "value", "The taint's value."),
    ("Volume", "configMap", "Files of a config map."),
    ("Volume", "emptyDir", "A directory as long-lived as the pod."),
    ("Volume", "hostPath", "A file or directory of the node."),
    ("Volume", "name", "The name, unique in the pod."),
    ("Volume", "persistentVolumeClaim", "A volume that outlives the pod."),
    ("Volume", "projected", "Files from several sources."),
    ("Volume", "secret", "Files of a secret."),
    ("VolumeMount", "mountPath", "Where in the container."),
    ("VolumeMount", "name", "Which volume."),
    ("VolumeMount", "readOnly", "Whether it cannot be written."),
    ("VolumeMount", "subPath", "Which part of the volume."),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use orrery_api::schema::Schema;

    use super::*;

    #[test]
    fn only_what_exists_is_described() {
        let messages = || {
            Schema::get()
                .messages()
                .filter(|message| !message.name.contains("beta"))
        };
        let fields: BTreeSet<(&str, &str)> = messages()
            .flat_map(|message| message.fields().map(|field| (message.short_name(), field.name)))
            .collect();
        let kinds: BTreeSet<&str> = messages().map(|message| message.short_name()).collect();
        for (name, _) in MESSAGES {
            assert!(kinds.contains(name), "{name}");
        }
        let described = FIELDS
            .iter()
            .map(|(of, name, _)| (*of, *name))
            .chain(VALUES.iter().map(|(of, name, _)| (*of, *name)));
        for (of, name) in described.filter(|(of, _)| !of.is_empty()) {
            assert!(fields.contains(&(of, name)), "{of}.{name}");
        }
    }
}
