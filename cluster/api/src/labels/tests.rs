use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement;
use proptest::prelude::*;

use super::*;

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn error(text: &str) -> String {
    Selector::parse(text).expect_err(text).to_string()
}

#[test]
fn a_selector_is_read_and_written_canonically() {
    for (text, canonical) in [
        ("", ""),
        ("a=b,c!=d,e in (x,y),!f,g", "a=b,c!=d,e in (x,y),!f,g"),
        ("x in (foo,,baz),y,z notin ()", "x in (,baz,foo),y,z notin ()"),
        ("z==1, a = b ,m>1,l<2", "a=b,l<2,m>1,z==1"),
        ("a in (in,notin)", "a in (in,notin)"),
        ("in=a", "in=a"),
        ("a=,b", "a=,b"),
        ("a in (,)", "a in ()"),
        ("a in (b,)", "a in (,b)"),
        ("example.com/name=x", "example.com/name=x"),
    ] {
        let selector = Selector::parse(text).expect(text);
        assert_eq!(selector.to_string(), canonical, "{text}");
        assert_eq!(Selector::parse(canonical).as_ref(), Ok(&selector), "{text}");
    }
}

#[test]
fn a_selector_matches_labels_that_meet_all_requirements() {
    let web = labels(&[("app", "web"), ("tier", "front"), ("size", "10")]);
    for (text, expected) in [
        ("", true),
        ("app=web", true),
        ("app==web,tier=front", true),
        ("app=web,tier=back", false),
        ("app in (web,db)", true),
        ("app notin (db)", true),
        ("zone notin (a)", true),
        ("zone!=a", true),
        ("zone=a", false),
        ("app", true),
        ("zone", false),
        ("!zone", true),
        ("!app", false),
        ("size>9", true),
        ("size<9", false),
        ("app>9", false),
    ] {
        assert_eq!(Selector::parse(text).expect(text).matches(&web), expected, "{text}");
    }
}

#[test]
fn a_bad_selector_is_refused_in_kubernetes_words() {
    assert_eq!(error("a,"), "found '', expected: identifier after ','");
    assert_eq!(error(",a"), "found ',', expected: !, identifier, or 'end of string'");
    assert_eq!(
        error("a b"),
        "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"
    );
    assert_eq!(error("a in x"), "unable to parse requirement: found 'x' expected: '('");
    assert_eq!(
        error("a in (x"),
        "unable to parse requirement: found '', expected: ',' or ')'"
    );
    assert_eq!(error("a=b=c"), "found '=', expected: ',' or 'end of string'");
    assert_eq!(
        error("!"),
        "unable to parse requirement: found '', expected: identifier"
    );
    insta::assert_snapshot!(error("a>b"), @r#"unable to parse requirement: values[0]: Invalid value: "b": for 'Gt', 'Lt' operators, the value must be an integer"#);
    insta::assert_snapshot!(error("a=b_"), @r#"unable to parse requirement: values[0][a]: Invalid value: "b_": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"#);
    insta::assert_snapshot!(error("/a"), @r#"unable to parse requirement: <nil>: Invalid value: "/a": prefix part must be non-empty"#);
}

#[test]
fn an_absent_selector_of_a_spec_matches_nothing_and_an_empty_one_everything() {
    let any = labels(&[("a", "b")]);
    let empty = LabelSelector::default();
    assert!(Selector::from_optional(Some(&empty)).is_ok_and(|selector| selector.matches(&any)));
    assert!(Selector::from_optional(None).is_ok_and(|selector| !selector.matches(&any) && selector.is_nothing()));
    let expression = |operator: &str, values: &[&str]| LabelSelector {
        match_expressions: Some(vec![LabelSelectorRequirement {
            key: "a".into(),
            operator: operator.into(),
            values: Some(values.iter().map(|v| (*v).to_owned()).collect()),
        }]),
        match_labels: Some(labels(&[("z", "1")])),
    };
    let text = |operator, values| Selector::from_label_selector(&expression(operator, values)).map(|s| s.to_string());
    assert_eq!(text("In", &["y", "x"]), Ok("a in (x,y),z=1".into()));
    assert_eq!(text("DoesNotExist", &[]), Ok("!a,z=1".into()));
    assert_eq!(
        text("Is", &[]),
        Err(ParseError("\"Is\" is not a valid label selector operator".into()))
    );
    assert_eq!(
        text("In", &[]),
        Err(ParseError(
            "values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty".into()
        ))
    );
}

#[test]
fn a_selector_tells_the_one_value_it_requires() {
    let selector = Selector::parse("a=1,b in (2),c in (3,4),d!=5").expect("a selector");
    assert_eq!(
        ["a", "b", "c", "d", "e"].map(|key| selector.exact_value(key)),
        [Some("1"), Some("2"), None, None, None]
    );
    assert_eq!(
        Selector::from_map(&labels(&[("b", "2"), ("a", "1")])).to_string(),
        "a=1,b=2"
    );
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "[ab/=!<>(), \\PC]{0,30}") {
        if let Ok(selector) = Selector::parse(&text) {
            let canonical = selector.to_string();
            prop_assert_eq!(Selector::parse(&canonical).map(|s| s.to_string()), Ok(canonical));
        }
    }

    #[test]
    fn a_requirement_and_its_opposite_divide_all_labels(
        all in proptest::collection::btree_map("[a-c]", "[x-z]", 0..4), key in "[a-c]", value in "[x-z]",
    ) {
        let matches = |text: String| Selector::parse(&text).expect("valid").matches(&all);
        prop_assert_ne!(matches(format!("{key}={value}")), matches(format!("{key}!={value}")));
        prop_assert_ne!(matches(format!("{key} in ({value},w)")), matches(format!("{key} notin ({value},w)")));
        prop_assert_ne!(matches(key.clone()), matches(format!("!{key}")));
        prop_assert!(Selector::from_map(&all).matches(&all));
    }
}
