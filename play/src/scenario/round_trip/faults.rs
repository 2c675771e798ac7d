//! Faults of every kind, for scenarios that are written and read again.

use super::*;

/// Whom a crash or a pause strikes: a machine or a component.
fn struck() -> impl Strategy<Value = (Option<NodeTarget>, Option<ComponentTarget>)> {
    prop_oneof![
        node().prop_map(|node| (Some(node), None)),
        component().prop_map(|component| (None, Some(component)))
    ]
}

fn lasting() -> impl Strategy<Value = Span> {
    prop_oneof![span(), Just(Span::seconds(5, 60))]
}

fn named(names: &[&str]) -> Vec<NodeTarget> {
    names.iter().map(|name| NodeTarget::Named((*name).to_owned())).collect()
}

fn share() -> impl Strategy<Value = WhichRequests> {
    (probability(), lasting()).prop_map(|(probability, lasts)| WhichRequests::Share { probability, lasts })
}

fn these() -> impl Strategy<Value = WhichRequests> {
    vec(1u32..90, 1..4).prop_map(|nth| WhichRequests::These {
        request: "list nodes".to_owned(),
        nth,
    })
}

fn on_links() -> impl Strategy<Value = FaultAction> {
    let links = || {
        let to = option::of(Just(NodeTarget::Named("control-plane".to_owned())));
        option::of((node(), to)).prop_map(|links| {
            let (node, to) = links.map_or((None, None), |(node, to)| (Some(node), to));
            LinksTarget { node, to }
        })
    };
    let slow = (links(), span(), lasting())
        .prop_map(|(links, by, lasts)| FaultAction::SlowLink(SlowLinkSpec { links, by, lasts }));
    let some = (links(), share()).prop_map(|(links, which)| LossSpec::Links { links, which });
    let lost = prop::sample::select(vec![Lost::Request, Lost::Answer]);
    let then = prop::sample::select(vec![Loss::Reset, Loss::Silence]);
    let certain = (client(), these(), lost, then).prop_map(|(client, which, lost, then)| LossSpec::These {
        client,
        which,
        lost,
        then,
    });
    let reset = struck().prop_map(|(node, component)| FaultAction::Reset(ResetSpec { node, component }));
    prop_oneof![slow, prop_oneof![some, certain].prop_map(FaultAction::Loss), reset]
}

fn of_requests() -> impl Strategy<Value = FaultAction> {
    let which = || prop_oneof![share(), these()];
    let codes = prop::sample::subsequence(vec![409u16, 429, 500, 503, 504], 1..=5);
    let errors =
        (option::of(client()), codes, option::of(any::<bool>()), which()).prop_map(|(client, codes, effect, which)| {
            FaultAction::ApiErrors(ApiErrorsSpec {
                client,
                codes,
                effect,
                which,
            })
        });
    let heard = prop::sample::select(vec![Heard::First, Heard::Second]);
    let twice = (option::of(client()), span(), heard, which()).prop_map(|(client, after, answer, which)| {
        FaultAction::Duplicate(DuplicateSpec {
            client,
            after,
            answer,
            which,
        })
    });
    prop_oneof![errors, twice]
}

fn of_watches() -> impl Strategy<Value = FaultAction> {
    let resource = option::of(Just("pods".to_owned()));
    let drop =
        (component(), resource, any::<bool>(), option::of(span())).prop_map(|(client, resource, relist, lasts)| {
            FaultAction::DropWatches(DropWatchesSpec {
                client,
                resource,
                relist,
                lasts,
            })
        });
    let slow = (component(), span(), lasting())
        .prop_map(|(client, by, lasts)| FaultAction::SlowReader(SlowReaderSpec { client, by, lasts }));
    prop_oneof![drop, slow]
}

/// How long something lasts, or until what happens.
fn lasting_or_until() -> impl Strategy<Value = (Span, Option<Trigger>)> {
    prop_oneof![
        lasting().prop_map(|lasts| (lasts, None)),
        trigger().prop_map(|until| (Span::seconds(5, 60), Some(until)))
    ]
}

fn calls() -> impl Strategy<Value = FaultAction> {
    let delay = (call(), 1u32..4, lasting_or_until())
        .prop_map(|(call, times, (by, until))| FaultAction::DelayCall(DelayCallSpec { call, times, by, until }));
    let to = "[1-5]".prop_map(|instance| ComponentTarget {
        role: Role::ApiServer,
        instance: Some(instance),
    });
    let component = component().prop_filter("connected", |component| component.role != Role::ApiServer);
    let reconnect = (component, to, any::<bool>())
        .prop_map(|(component, to, restart)| FaultAction::Reconnect(ReconnectSpec { component, to, restart }));
    prop_oneof![delay, reconnect]
}

pub(super) fn fault() -> impl Strategy<Value = FaultPlan> {
    let crash = (struck(), option::of(1u32..9), lasting()).prop_map(|((node, component), writes, lasts)| {
        let writer = component.as_ref().is_some_and(|target| target.role != Role::ApiServer);
        FaultAction::Crash(CrashSpec {
            node,
            component,
            after_writes: writes.filter(|_| writer),
            lasts,
        })
    });
    let pause = (struck(), lasting_or_until()).prop_map(|((node, component), (lasts, until))| {
        FaultAction::Pause(PauseSpec {
            node,
            component,
            lasts,
            until,
        })
    });
    let directions = prop::sample::select(vec![Direction::Both, Direction::In, Direction::Out]);
    let parts = prop_oneof![
        node().prop_map(Parts::Node),
        Just(Parts::Any),
        Just(Parts::Groups(named(&["node-1"]), named(&["control-plane"]))),
    ];
    let partition = (parts, directions, lasting()).prop_map(|(parts, direction, lasts)| {
        FaultAction::Partition(PartitionSpec {
            parts,
            direction,
            lasts,
        })
    });
    let share = (probability(), lasting()).prop_map(|(probability, lasts)| WhichAnswers::Share { probability, lasts });
    let these = (vec(1u32..90, 1..4), any::<bool>()).prop_map(|(requests, reset)| WhichAnswers::These {
        write: "patch pods/status".to_owned(),
        requests,
        then: if reset { Loss::Reset } else { Loss::Silence },
    });
    let lost = (option::of(client()), prop_oneof![share, these])
        .prop_map(|(client, which)| FaultAction::LostAnswers(LostAnswersSpec { client, which }));
    let lag = (component(), span(), lasting())
        .prop_map(|(client, by, lasts)| FaultAction::Lag(LagSpec { client, by, lasts }));
    let scope = prop_oneof![
        Just(LagScope::Everything),
        Just(LagScope::Resource("pods".to_owned())),
        Just(LagScope::Object("Pod/default/web-1".to_owned())),
    ];
    let server = option::of("[1-5]").prop_map(|instance| ComponentTarget {
        role: Role::ApiServer,
        instance,
    });
    let api_lag = (server, scope, option::of(span()), lasting_or_until()).prop_map(|(server, scope, by, ends)| {
        FaultAction::ApiLag(ApiLagSpec {
            server,
            scope,
            by,
            lasts: ends.0,
            until: ends.1,
        })
    });
    let halves = prop::sample::select(vec![HalfApplied::None, HalfApplied::Nat, HalfApplied::Filter]);
    let trouble = prop_oneof![
        (1u32..9, option::of(halves)).prop_map(|(times, half)| PacketsTrouble::Fails { times, half }),
        (span(), lasting()).prop_map(|(by, lasts)| PacketsTrouble::Slow { by, lasts }),
        Just(PacketsTrouble::Flushed),
    ];
    let packets = (node(), trouble).prop_map(|(node, trouble)| FaultAction::Packets(PacketsSpec { node, trouble }));
    let operation = prop::sample::select(DiskOperation::ALL.to_vec());
    let room = (0u32..5000, 0u32..5000).prop_map(|(low, more)| Between { low, high: low + more });
    let disk = prop_oneof![
        (span(), lasting()).prop_map(|(by, lasts)| DiskSpec::Slow { by, lasts }),
        (room, lasting()).prop_map(|(room, lasts)| DiskSpec::Full { room, lasts }),
        (operation, 1u32..5).prop_map(|(operation, times)| DiskSpec::Fails { operation, times }),
        (1u32..5).prop_map(|times| DiskSpec::Misreads { times }),
        lasting().prop_map(|lasts| DiskSpec::Rots { lasts }),
    ];
    let offset = (-100_000i64..100_000, 0i64..2).prop_map(|(low, more)| Between {
        low: Offset(low),
        high: Offset(low + more * 5000),
    });
    let drift = prop_oneof![Just(1.0), 0.5..2.0].prop_map(|rate| Rate(rate).into());
    let clock = (node(), offset, drift, lasting()).prop_map(|(node, offset, drift, lasts)| {
        FaultAction::Clock(ClockSpec {
            node,
            offset,
            drift,
            lasts,
        })
    });
    let compact = (0u32..99).prop_map(|keep| FaultAction::Compact(CompactSpec { keep: keep.into() }));
    let swarm =
        (span(), vec(prop::sample::select(FaultKind::ALL.to_vec()), 0..8)).prop_map(|(span, kinds)| FaultPlan {
            moment: Moment::Between(span),
            action: FaultAction::Swarm(SwarmSpec { kinds }),
        });
    let flows = (node(), 0u32..9, lasting())
        .prop_map(|(node, times, lasts)| FaultAction::Flows(FlowsSpec { node, times, lasts }));
    let roles = prop::sample::select(vec![Role::Scheduler, Role::ControllerManager]);
    let hand_over = (roles, any::<bool>(), lasting()).prop_map(|(role, late, lasts)| {
        FaultAction::HandOver(HandOverSpec {
            component: ComponentTarget { role, instance: None },
            leader: if late {
                OldLeader::SpeaksLate
            } else {
                OldLeader::StandsStill
            },
            lasts,
        })
    });
    let troubles = prop::sample::select(ContainerTrouble::ALL.to_vec());
    let containers = (node(), troubles, option::of(1u32..9), lasting()).prop_map(|(node, trouble, nth, lasts)| {
        let nth = nth.filter(|_| trouble.is_of_one());
        FaultAction::Containers(ContainersSpec::new(node, trouble, nth, lasts))
    });
    let troubles = prop::sample::select(RuntimeTrouble::ALL.to_vec());
    let runtime = (node(), troubles, lasting())
        .prop_map(|(node, trouble, lasts)| FaultAction::Runtime(RuntimeSpec::new(node, trouble, lasts)));
    let troubles = prop::sample::select(NodeTrouble::ALL.to_vec());
    let nodes = (node(), troubles, lasting())
        .prop_map(|(node, trouble, lasts)| FaultAction::Nodes(NodesSpec::new(node, trouble, lasts)));
    let single = prop_oneof![
        crash,
        component().prop_map(|component| FaultAction::Restart(RestartSpec(component))),
        pause,
        partition,
        lost,
        lag,
        api_lag,
        calls(),
        packets,
        on_links(),
        of_requests(),
        of_watches(),
        disk.prop_map(FaultAction::Disk),
        clock,
        compact,
        flows,
        hand_over,
        containers,
        runtime,
        nodes
    ];
    prop_oneof![
        4 => (moment(), single).prop_map(|(moment, action)| FaultPlan { moment, action }),
        1 => swarm
    ]
}
