//! Whatever scenario there can be is written so that reading it gives an equal one.

mod faults;

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z][a-z0-9-]{0,12}[a-z0-9]", "[0-9]{1,4}", Just("no".to_owned())]
}

fn words() -> impl Strategy<Value = String> {
    prop_oneof!["[ -~]{0,40}", "([a-z,;.:#-]{1,9} ){20,40}end", any::<String>()]
}

fn duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        (0u64..100_000).prop_map(Duration::from_secs),
        (0u64..100_000).prop_map(Duration::from_millis),
        (0u64..1_000_000_000_000).prop_map(Duration::from_nanos),
    ]
}

fn span() -> impl Strategy<Value = Span> {
    (duration(), duration()).prop_map(|(one, other)| Span {
        low: one.min(other),
        high: one.max(other),
    })
}

fn probability() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.0), Just(0.5), Just(1.0), 0.0..1.0]
}

fn texts() -> impl Strategy<Value = BTreeMap<String, String>> {
    btree_map(
        "([a-z]{1,5}/)?[a-z][a-z.-]{0,5}[a-z]",
        "([0-9]|[a-zA-Z][a-zA-Z0-9.]{0,4}[a-z])?",
        0..3,
    )
}

fn amounts() -> impl Strategy<Value = BTreeMap<String, String>> {
    btree_map("[a-z./-]{1,10}", "[1-9][0-9]{0,3}(k|Mi|Gi)?", 0..3)
}

fn component() -> impl Strategy<Value = ComponentTarget> {
    let role = prop::sample::select(vec![Role::ApiServer, Role::Scheduler, Role::ControllerManager]);
    let anywhere = (role, option::of("[1-5]")).prop_map(|(role, instance)| ComponentTarget { role, instance });
    let on_node = (
        prop::sample::select(vec![Role::Kubelet, Role::Proxy]),
        option::of(Just("node-1".to_owned())),
    );
    prop_oneof![
        anywhere,
        on_node.prop_map(|(role, instance)| ComponentTarget { role, instance })
    ]
}

fn node() -> impl Strategy<Value = NodeTarget> {
    prop_oneof![Just(NodeTarget::Any), Just(NodeTarget::Named("node-1".to_owned()))]
}

fn client() -> impl Strategy<Value = ClientTarget> {
    prop_oneof![Just(ClientTarget::User), component().prop_map(ClientTarget::Component)]
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        words().prop_map(Value::from),
    ]
}

fn call() -> impl Strategy<Value = CallSpec> {
    let verbs = prop::sample::select(call::VERBS.to_vec()).prop_map(str::to_owned);
    let resources = prop::sample::select(vec!["pods".to_owned(), "pods/status".to_owned()]);
    let ends = prop::sample::select(vec![CallEnd::Before, CallEnd::After]);
    let parts = (
        option::of(client()),
        option::of(verbs),
        option::of(resources),
        option::of(name()),
        ends,
    );
    parts.prop_map(|(client, verb, resource, object, when)| CallSpec {
        client,
        verb,
        resource,
        object,
        when,
    })
}

fn trigger() -> impl Strategy<Value = Trigger> {
    let kinds = prop::sample::select(vec![WriteKind::Create, WriteKind::Update, WriteKind::Delete]);
    let fields = btree_map("[a-z.]{1,9}", (option::of(value()), option::of(value())), 0..3).prop_map(|fields| {
        let fields = fields.into_iter().map(|(path, (from, to))| FieldChange {
            to: to.filter(|to| from.as_ref() != Some(to)),
            path,
            from,
        });
        fields.collect::<Vec<_>>()
    });
    let write =
        (kinds, fields, option::of(component()), 1u32..5).prop_map(|(kind, fields, observed_by, occurrence)| {
            Trigger::Write(WriteTrigger {
                kind,
                object: "Pod/default/web-*".to_owned(),
                fields,
                observed_by,
                occurrence,
            })
        });
    let call = (call(), 1u32..5).prop_map(|(call, occurrence)| Trigger::Call { call, occurrence });
    let leaf = prop_oneof![write, call, duration().prop_map(Trigger::After)];
    leaf.prop_recursive(2, 6, 3, |inner| {
        let list = || vec(inner.clone(), 1..3);
        prop_oneof![
            list().prop_map(Trigger::All),
            list().prop_map(Trigger::Any),
            list().prop_map(Trigger::Sequence)
        ]
    })
}

fn moment() -> impl Strategy<Value = Moment> {
    prop_oneof![
        duration().prop_map(Moment::At),
        span().prop_map(Moment::Between),
        trigger().prop_map(Moment::When)
    ]
}

fn manifest() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        words().prop_map(Value::from),
    ];
    let spec = leaf.prop_recursive(3, 30, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::from),
            btree_map("[a-zA-Z./-]{1,12}", inner, 0..6).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    });
    (name(), spec).prop_map(
        |(name, spec)| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "spec": spec}),
    )
}

fn choice() -> impl Strategy<Value = DeploymentChoice> {
    (name(), name()).prop_map(|(deployment, namespace)| DeploymentChoice { deployment, namespace })
}

fn node_step() -> impl Strategy<Value = StepAction> {
    let drain = (node(), span(), any::<bool>())
        .prop_map(|(node, timeout, force)| StepAction::Drain(DrainSpec { node, timeout, force }));
    let effects = prop::sample::select(vec!["NoSchedule".to_owned(), "NoExecute".to_owned()]);
    let taint =
        (node(), name(), option::of(name()), effects, any::<bool>()).prop_map(|(node, key, value, effect, on)| {
            let taint = TaintStep {
                node,
                key,
                value,
                effect,
            };
            if on {
                StepAction::Taint(taint)
            } else {
                StepAction::Untaint(taint)
            }
        });
    prop_oneof![drain, taint]
}

fn object_step() -> impl Strategy<Value = StepAction> {
    let object = || name().prop_map(|name| format!("ConfigMap/{name}"));
    let edit = (object(), manifest()).prop_map(|(object, patch)| StepAction::Edit(EditSpec { object, patch }));
    let finalizers = prop_oneof![
        Just("example.com/hold".to_owned()),
        Just("example.com/other".to_owned())
    ];
    let held = (object(), finalizers, any::<bool>()).prop_map(|(object, finalizer, on)| {
        let spec = FinalizerSpec { object, finalizer };
        if on {
            StepAction::AddFinalizer(spec)
        } else {
            StepAction::RemoveFinalizer(spec)
        }
    });
    let statuses = prop::sample::select(vec![
        ConditionStatus::True,
        ConditionStatus::False,
        ConditionStatus::Unknown,
    ]);
    let said = (object(), name(), statuses)
        .prop_map(|(object, kind, status)| StepAction::SetCondition(ConditionSpec { object, kind, status }));
    let namespace = "[a-c]{1,5}".prop_map(|namespace| StepAction::RecreateNamespace(NamespaceChoice { namespace }));
    prop_oneof![edit, held, said, namespace]
}

fn whole_object_step() -> impl Strategy<Value = StepAction> {
    let object = || name().prop_map(|name| format!("ConfigMap/{name}"));
    let attempts = prop_oneof![
        manifest().prop_map(Attempt::Create),
        (object(), manifest()).prop_map(|(object, patch)| Attempt::Edit(EditSpec { object, patch })),
        (object(), option::of(0u32..99)).prop_map(|(object, grace)| Attempt::Delete(DeleteSpec {
            object,
            propagation: None,
            grace,
        })),
        object().prop_map(Attempt::Get),
    ];
    let components = prop::sample::select(vec!["kubelet/node-1", "scheduler", "controller-manager", "proxy"]);
    let who = components.prop_map(|name| ComponentTarget::parse(name).expect("a component"));
    let refused = (attempts, 400u16..429, option::of(who))
        .prop_map(|(request, code, who)| StepAction::Refused(RefusedSpec { request, code, who }));
    let replace = manifest().prop_map(|object| StepAction::Replace(ReplaceSpec { object }));
    prop_oneof![replace, refused]
}

fn list() -> impl Strategy<Value = StepAction> {
    let kinds = prop::sample::select(vec!["Pod".to_owned(), "configmap".to_owned()]);
    let namespaces = prop_oneof![Just("default".to_owned()), Just("*".to_owned()), name()];
    let selectors = prop::option::of(prop::sample::select(vec![
        "app=web".to_owned(),
        "a in (b, c),!d".to_owned(),
    ]));
    (kinds, namespaces, selectors, 1u32..999, span()).prop_map(|(kind, namespace, selector, limit, pause)| {
        StepAction::List(ListSpec {
            kind,
            namespace,
            selector,
            limit,
            pause,
        })
    })
}

fn step() -> impl Strategy<Value = StepPlan> {
    let propagation = prop::sample::select(vec![
        Propagation::Background,
        Propagation::Foreground,
        Propagation::Orphan,
    ]);
    let delete = (name(), option::of(propagation), option::of(0u32..99)).prop_map(|(name, propagation, grace)| {
        StepAction::Delete(DeleteSpec {
            object: format!("configmap/{name}"),
            propagation,
            grace,
        })
    });
    let own = (name(), vec(name(), 0..3)).prop_map(|(object, owners)| {
        StepAction::Own(OwnSpec {
            object: format!("ConfigMap/{object}"),
            owners: owners.iter().map(|owner| format!("Deployment/{owner}")).collect(),
        })
    });
    let scale = (choice(), 0i32..99).prop_map(|(choice, replicas)| {
        StepAction::Scale(ScaleSpec {
            deployment: choice.deployment,
            namespace: choice.namespace,
            replicas,
        })
    });
    let set_image = (choice(), name(), name()).prop_map(|(choice, container, image)| {
        StepAction::SetImage(SetImageSpec {
            deployment: choice.deployment,
            namespace: choice.namespace,
            container,
            image,
        })
    });
    let delete_pod = (
        option::of(Just("app=web".to_owned())),
        name(),
        1usize..4,
        option::of(1u32..9),
        option::of(0u32..60),
    )
        .prop_map(|(labels, namespace, count, nth, grace)| {
            StepAction::DeletePod(PodChoice {
                labels,
                namespace,
                count: if nth.is_some() { 1 } else { count },
                nth,
                grace,
            })
        });
    let labels = btree_map(name(), option::of(name()), 1..3);
    let label_pod = (
        option::of(Just("app=web".to_owned())),
        name(),
        option::of(1u32..9),
        labels,
    )
        .prop_map(|(labels, namespace, nth, set)| {
            StepAction::LabelPod(LabelSpec {
                labels,
                namespace,
                nth,
                set,
            })
        });
    let action = prop_oneof![
        vec(manifest(), 0..3).prop_map(|objects| StepAction::Apply(Manifest::Inline(objects))),
        own,
        delete,
        scale,
        set_image,
        delete_pod,
        label_pod,
        choice().prop_map(StepAction::Restart),
        choice().prop_map(StepAction::CreateDeleteSameName),
        choice().prop_map(StepAction::DeleteForeground),
        node().prop_map(|node| StepAction::Cordon(CordonSpec { node })),
        node().prop_map(|node| StepAction::Uncordon(CordonSpec { node })),
        node_step(),
        list(),
        object_step(),
        whole_object_step(),
        choice().prop_map(StepAction::PauseRollout),
        choice().prop_map(StepAction::ResumeRollout),
        (choice(), option::of(1i64..9)).prop_map(|(choice, to)| StepAction::Undo(UndoSpec {
            deployment: choice.deployment,
            namespace: choice.namespace,
            to,
        })),
    ];
    let kind = || prop::sample::select(ChurnKind::ALL.to_vec());
    let ops = prop_oneof![
        vec(kind(), 1..5).prop_map(Ops::Evenly),
        btree_map(kind(), 1u32..9, 1..4).prop_map(Ops::Weighted),
        Just(Ops::Swarm)
    ];
    let churn = (span(), span(), ops).prop_map(|(span, every, ops)| StepPlan {
        moment: Moment::Between(span),
        action: StepAction::Churn(ChurnSpec { every, ops }),
    });
    prop_oneof![
        6 => (moment(), action).prop_map(|(moment, action)| StepPlan { moment, action }),
        1 => churn
    ]
}

fn topology() -> impl Strategy<Value = Topology> {
    let taint = (name(), option::of(name())).prop_map(|(key, value)| TaintSpec {
        key,
        value,
        effect: "NoSchedule".to_owned(),
    });
    let spec = (name(), option::of(name()), texts(), vec(taint, 0..2), amounts()).prop_map(
        |(name, zone, labels, taints, capacity)| NodeSpec {
            name,
            zone,
            labels,
            taints,
            capacity,
        },
    );
    let named = vec(spec, 0..3).prop_map(|mut nodes| {
        // Names are told apart, and node-1 is always there: faults speak of it.
        for (index, node) in nodes.iter_mut().enumerate() {
            node.name = format!("node-{}", index + 1);
        }
        nodes
    });
    let nodes = prop_oneof![
        (1u32..9).prop_map(topology::numbered),
        named.prop_filter("one node", |nodes| !nodes.is_empty())
    ];
    let store = (option::of(1u32..99_999), option::of(1u32..99_999));
    let store = store.prop_map(|(segment, snapshot)| StoreSpec { segment, snapshot });
    (nodes, 1u32..4, 1u32..4, 1u32..4, amounts(), store).prop_map(
        |(nodes, zones, schedulers, controller_managers, node, store)| Topology {
            nodes,
            zones,
            schedulers,
            controller_managers,
            node,
            store,
            ..Topology::default()
        },
    )
}

fn image() -> impl Strategy<Value = ImageScript> {
    let spans = (span(), span(), span(), option::of(span()), span());
    (
        spans,
        probability(),
        vec(1..=u16::MAX, 0..3),
        option::of(0i32..=255),
        any::<bool>(),
    )
        .prop_map(|((pull, start, ready, lifetime, stop), crash, listen, exit, default)| {
            if default {
                return ImageScript::default();
            }
            ImageScript {
                pull,
                start,
                ready,
                crash,
                lifetime,
                listen,
                exit,
                stop,
            }
        })
}

fn expect() -> impl Strategy<Value = Expect> {
    let ids = crate::vocabulary::vocabulary().invariants();
    let invariants = prop_oneof![
        Just(InvariantChoice::All),
        vec(prop::sample::select(ids), 0..3)
            .prop_map(|ids| InvariantChoice::These(ids.into_iter().map(str::to_owned).collect())),
    ];
    let value = prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        words().prop_map(Value::from),
    ];
    let fields = prop::option::of(btree_map("[a-z.]{1,12}", value, 0..3));
    let state = btree_map("deployment/[a-z]{1,5}", fields, 0..3);
    (invariants, duration(), vec(state, 0..3)).prop_map(|(invariants, converge, state)| Expect {
        invariants,
        converge,
        state,
        // What may be written with them is not drawn here.
        end_state: None,
        creates_and_deletes: None,
    })
}

fn scenario() -> impl Strategy<Value = Scenario> {
    let heal = prop_oneof![
        Just(Heal::Core),
        Just(Heal::All),
        Just(Heal::AllBut(vec!["node-1".to_owned()])),
    ];
    let network = (span(), probability()).prop_map(|(latency, loss)| NetworkSpec { latency, loss });
    let images = btree_map("[a-z]{1,5}:[a-z0-9]{1,3}", image(), 0..3);
    let head = (name(), words(), option::of(any::<u64>()), topology(), network, images);
    (
        head,
        vec(step(), 0..6),
        vec(faults::fault(), 0..6),
        heal,
        expect(),
        duration().prop_filter("more than nothing", |duration| !duration.is_zero()),
    )
        .prop_map(
            |((name, about, seed, topology, network, images), workload, faults, heal, expect, duration)| Scenario {
                name,
                about,
                seed,
                topology,
                network,
                images,
                workload,
                faults,
                heal,
                expect,
                duration,
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn a_scenario_that_is_written_is_read_as_it_was(scenario in scenario()) {
        let text = scenario.to_yaml();
        let read = read("a.yaml", &text, |_| Err("no such file".to_owned()))
            .map_err(|error| TestCaseError::fail(format!("{error}:\n{text}")))?;
        prop_assert_eq!(read, scenario, "{}", text);
    }
}

#[test]
fn a_scenario_is_written_as_people_would() {
    let source = include_str!("../../../../scenarios/rolling-update.yaml");
    let manifest = include_str!("../../../../scenarios/manifests/web.yaml");
    let scenario = read("rolling-update.yaml", source, |_| Ok(manifest.to_owned())).unwrap();
    insta::assert_snapshot!(scenario.to_yaml(), @r#"
        name: rolling-update
        about: >-
          A Deployment rolls over, is rolled back from a broken image, and scaled meanwhile; the controller manager restarts in
          the middle.
        topology: { nodes: 4, zones: 2 }
        images:
          web:1: { pull: 200ms..1s, ready: 500ms..2s, listen: [80] }
          web:2: { pull: 500ms..4s, ready: 1s..4s, listen: [80] }
          web:bad: { exit: 1 }
        workload:
          - at: 5s
            apply:
              - { apiVersion: apps/v1, kind: Deployment, metadata: { name: web },
                  spec: { replicas: 3, selector: { matchLabels: { app: web } },
                    strategy: { rollingUpdate: { maxSurge: 1, maxUnavailable: 1 } },
                    template: { metadata: { labels: { app: web } },
                      spec: { containers: [{ image: web:1, name: web, ports: [{ containerPort: 80 }],
                            readinessProbe: { httpGet: { path: /, port: 80 }, periodSeconds: 2 },
                            resources: { requests: { cpu: "100m", memory: "64Mi" } } }], terminationGracePeriodSeconds: 5,
                        tolerations: [{ effect: NoExecute, key: node.kubernetes.io/unreachable, operator: Exists,
                            tolerationSeconds: 10 },
                          { effect: NoExecute, key: node.kubernetes.io/not-ready, operator: Exists, tolerationSeconds: 10 }] } } } }
              - { apiVersion: v1, kind: Service, metadata: { name: web },
                  spec: { ports: [{ name: http, port: 80, targetPort: 80 }], selector: { app: web } } }
          - at: 30s
            set-image: { deployment: web, container: web, image: web:bad }
          - at: 1m
            set-image: { deployment: web, container: web, image: web:2 }
          - at: 65s
            scale: { deployment: web, replicas: 5 }
          - between: 80s..140s
            churn: { every: 4s..12s, ops: [restart, delete-pod, cordon] }
        faults:
          - when: { update: Deployment/default/web, occurrence: 6 }
            restart: controller-manager
          - between: 1m..100s
            restart: kubelet
        expect: { converge: 3m, state: [{ deployment/web: { status.availableReplicas: 5, status.updatedReplicas: 5 } }] }
        duration: 150s
        "#);
}

#[test]
fn the_size_of_a_scenario_is_that_of_its_faults_and_its_workload() {
    let text = "name: a\nduration: 1s\nfaults:\n  - at: 1s\n    restart: scheduler\nworkload:\n  - at: 1s\n    delete: pod/a\n";
    assert_eq!(read("a.yaml", text, |_| Err(String::new())).unwrap().lines(), 4);
}
