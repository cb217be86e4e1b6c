//! Templates that overflow the stack without bounds, which ends the process and all of these tests with it.

use bpe::ChatError;

use super::{message, template};

fn rendered(source: &str) -> Result<String, ChatError> {
    let messages = [message("system", "Be kind"), message("user", "Hi"), message("assistant", "Hello")];
    template(source)?.render(&messages, false)
}

fn assert_refused(source: &str, why: &str) {
    let start: String = source.chars().take(200).collect();
    match rendered(source) {
        Err(ChatError::Template { message }) => assert!(message.contains(why), "{start}: {message}"),
        other => panic!("{start}: {:?}", other.map(|text| text.len())),
    }
}

/// A template that makes `ns.x` of itself, 9,999 times.
fn again(x: &str, made: &str, end: &str) -> String {
    format!("{{% set ns = namespace(x={x}) %}}{{% for i in range(9999) %}}{{% set ns.x = {made} %}}{{% endfor %}}{end}")
}

/// A list in a list, and so on.
fn nested(levels: usize, inner: &str) -> String {
    "[".repeat(levels) + inner + &"]".repeat(levels)
}

const DEEP: &str = "more than 32 lists and maps within each other";
const LARGE: &str = "more than 65536 parts or 67108864 bytes";
const NO_DATA: &str = "a namespace, loop, macro, function or view in a list, a map or a namespace";
const SOURCE: &str = "more than 300 names, operators and opening brackets in a tag, or than 100 elif";

#[test]
fn values_are_not_deep() {
    for (x, made) in [
        ("[1]", "[x]"),
        ("[1]", "(((x,),),)"),
        ("[1]", "{'a': x}"),
        ("[1]", "{x: 1}"),
        ("[1]", "dict(a=x)"),
        ("[1]", "(dict if x else range)(a=x)"),
        ("[1]", "[[1], x][1:]"),
        ("[1]", "[x] + [1]"),
        ("[1]", "[x] * 1"),
        ("[1]", "x | batch(1)"),
        ("[1]", "x | slice(1)"),
        ("[1]", "[x] | reverse"),
        ("[[1]]", "x | map('batch', 1) | list"),
        ("[1]", "{'a': x} | items"),
        ("[1]", "{'a': x} | dictsort"),
        ("[1]", "none | default([x], true)"),
    ] {
        let line = format!("{{% set x = {made} %}}");
        assert_refused(&format!("{{% set x = {x} %}}{}{{{{ x }}}}", line.repeat(9999)), DEEP);
        assert_refused(&again(x, &made.replace('x', "ns.x"), "{{ ns.x }}"), DEEP);
    }
    for end in
        ["{{ ns.x | tojson }}", "{{ ns.x ~ '' }}", "{{ ns.x | string }}", "{{ ns.x == y }}", "{{ {ns.x: 1, y: 2} }}"]
    {
        let y = "{% set y = ns.x %}".to_owned() + &again("[1]", "[ns.x]", end);
        assert_refused(&(again("[1]", "[ns.x]", "") + &y), DEEP);
    }
    // Nothing is done with these but to let them go.
    assert_refused(&again("[1]", &nested(60, "ns.x"), "{% set ns.x = 0 %}"), DEEP);
    assert_refused(&format!("{{% set x = {} %}}", nested(60, "x")).repeat(2000), DEEP);
    for source in [
        "{% for x in [1] recursive %}{{ loop([DEEP]) if loop.depth < 99 else x }}{% endfor %}",
        "{% macro f(x, n) %}{% set x = DEEP %}{{ f(DEEP, n - 1) if n else x }}{% endmacro %}{{ f(1, 40) }}",
        "{% macro f(x, n) %}{% set x = DEEP %}{{ f(x=DEEP, n=n - 1) if n else x }}{% endmacro %}{{ f(x=1, n=40) }}",
    ] {
        assert_refused(&source.replace("DEEP", &nested(70, "x")), DEEP);
    }
    let levels = |count| "{% set x = 1 %}".to_owned() + &"{% set x = [x] %}".repeat(count) + "{{ x }}";
    assert_eq!(rendered(&levels(33)), Ok(nested(33, "1")));
    assert_refused(&levels(34), DEEP);
}

#[test]
fn namespaces_and_loops_are_in_nothing() {
    let ways = ["[ns]", "ns", "{'a': ns}", "{ns: 1}", "(ns, 1)", "[ns][0:]", "dict(a=ns)", "namespace(a=ns)"];
    for way in ways.into_iter().chain(["none | default(ns, true)", "{'a': ns} | items", "namespace({'a': ns})"]) {
        for end in ["{{ ns }}", "{{ ns | tojson }}", "{{ ns ~ 'a' }}", "{{ {ns.x: 1} }}"] {
            assert_refused(&format!("{{% set ns = namespace() %}}{{% set ns.x = {way} %}}{end}"), NO_DATA);
        }
    }
    // A loop holds what it goes through, and what it was asked last.
    let loops = |of: &str, body: &str| {
        "{% set ns = namespace(l=0) %}{% for i in range(60000) %}{% for j in ".to_owned()
            + &format!("{of} %}}{body}{{% set ns.l = loop %}}{{% endfor %}}{{% endfor %}}")
    };
    assert_refused(&loops("[ns.l]", ""), NO_DATA);
    assert_refused(&loops("[0]", "{% if loop.changed(ns.l) %}{% endif %}"), NO_DATA);
    // Cycles of these would never be freed.
    for changed in ["loop.changed(loop)", "loop.changed(1, n)", "loop.changed(n, 1)", "loop.changed(*[n])"] {
        assert_refused(
            &format!("{{% set n = namespace() %}}{{% for i in [0] %}}{{{{ {changed} }}}}{{% endfor %}}"),
            NO_DATA,
        );
    }
    assert_refused("{% set a = namespace() %}{% set b = namespace(a=a) %}{% set a.b = b %}{{ a }}", NO_DATA);
    assert_refused("{% macro f(n) %}{% set n.x = [n] %}{{ n }}{% endmacro %}{{ f(n=namespace()) }}", NO_DATA);
}

#[test]
fn views_are_lists_of_their_own() {
    for made in
        ["ns.x[0:]", "ns.x[::-1]", "ns.x * 1", "ns.x | reverse", "[] + ns.x", "(ns.x + [])[0:]", "{1: ns.x} | reverse"]
    {
        assert_eq!(rendered(&again("[1]", made, "{{ ns.x }}")), Ok("[1]".into()), "{made}");
    }
    assert_refused(&again("{}", "ns.x | chain({})", "{{ ns.x }}"), "unknown");
    assert_refused(&again("[{}]", "ns.x | groupby('k')", "{{ ns.x }}"), "unknown");
    // Such a view of a map shows its keys, and holds its values.
    assert_refused(&again("[1]", "[{'k': ns.x}] | map('reverse') | list", "ok"), NO_DATA);
    assert_refused(&again("[[1]]", "ns.x | map('zip') | list", "{{ ns.x }}"), NO_DATA);
}

/// Fuel counts what is made, not that a part of it may be written many times: without memory the process ends, too.
#[test]
fn values_are_not_large() {
    let doubled =
        |count| "{% set x = ['a'] %}".to_owned() + &"{% set x = [x, x] %}".repeat(count) + "{{ x | string | length }}";
    assert_eq!(rendered(&doubled(14)), Ok("147452".into()));
    assert_refused(&doubled(30), LARGE);
    assert_refused(&again("['a']", "ns.x + ns.x", "{{ ns.x }}"), LARGE);
    assert_refused(&("{% set x = ['a'] %}".to_owned() + &"{% set x = x + x %}".repeat(20)), LARGE);
    assert_refused("{% set s = 'x' * 1000000 %}{{ [s] * 60000 }}", LARGE);
    let attributes: String = (0..9999).map(|number| format!("{{% set ns.x{number} = s %}}")).collect();
    assert_refused(
        &format!("{{% set ns = namespace() %}}{{% set s = 'x' * 1000000 %}}{attributes}{{{{ ns }}}}"),
        "fuel",
    );
    assert_refused(&doubled(11).replace("{{", "{% for i in range(60000) %}{% set y = [x] %}{% endfor %}{{"), "fuel");
    assert_refused("{{ debug() }}", "unknown");
}

#[test]
fn sources_are_not_deep() {
    for (start, middle, end) in [
        ("{{ 1", " + 1", " }}"),
        ("{{ a", " ~ a", " }}"),
        ("{{ a", " and a", " }}"),
        ("{{ a", " ** a", " }}"),
        ("{{ a", " if a else a", " }}"),
        ("{{ a", ".a", " }}"),
        ("{{ a", "[0]", " }}"),
        ("{{ a", "[0:]", " }}"),
        ("{{ a", "()", " }}"),
        ("{{ a", " | trim", " }}"),
        ("{{ a", " is defined", " }}"),
        ("{{ a is eq ", "-", "1 }}"),
        ("{{ ", "-", "1 }}"),
        ("{{ ", "not ", "1 }}"),
        // A text that looks like the end of the tag.
        ("{{ 1", " + '%}{{'", " }}"),
        ("{% set ", "(", "a = 1 %}"),
        ("{% set a", ".a", " = 1 %}"),
        ("{% for ", "(", "a in [1] %}{% endfor %}"),
        ("{% with ", "(", "a = 1 %}{% endwith %}"),
        ("{% set a | trim", " | trim", " %}{% endset %}"),
        ("{% filter trim", " | trim", " %}{% endfilter %}"),
        ("{% if a %}", "{% elif a %}", "{% endif %}"),
    ] {
        let source = |count| start.to_owned() + &middle.repeat(count) + end;
        let refused = |count: &usize| template(&source(*count)).is_err_and(|error| error.to_string().contains(SOURCE));
        assert!(refused(&50_000), "{start}{middle}{end}");
        // What is just let through may be refused by the engine, but ends.
        let most = (50..=300).rfind(|count| !refused(count)).unwrap();
        rendered(&source(most)).ok();
    }
    assert_refused(&format!("\n{{{{ 1{} }}}}", "+1".repeat(300)), "(line 2)");
    assert_refused(&"{% if true %}".repeat(2000), "maximum recursion");
    // Many tags, a long list and what is no tag are not deep.
    let flat = "{{ '1' }}".repeat(1000) + "{{ [" + &"'a', ".repeat(1000) + "][0] }}";
    let raw = "{% raw %}".to_owned() + &"{{ 1 + ".repeat(1000) + "{% endraw %}";
    assert_eq!(rendered(&(flat + &raw)), Ok("1".repeat(1000) + "a" + &"{{ 1 + ".repeat(1000)));
}

#[test]
fn calls_are_not_deep() {
    for source in [
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% macro f(x=f()) %}{% endmacro %}{{ f() }}",
        "{% macro f() %}{% filter trim %}{{ [f()] }}{% endfilter %}{% endmacro %}{{ f() }}",
        "{% macro g() %}{{ caller() }}{% endmacro %}{% macro f() %}{% call g() %}{{ f() }}{% endcall %}{% endmacro %}\
        {{ f() }}",
        "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
    ] {
        assert_refused(source, "recursion limit");
    }
    // The deepest value in the deepest call.
    let made = "{% set x = 1 %}".to_owned() + &"{% set x = [x] %}".repeat(33);
    let source = "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{% else %}MADE{{ x }}{% endif %}{% endmacro %}{{ f(35) }}";
    assert_eq!(rendered(&source.replace("MADE", &made)), Ok(nested(33, "1")));
    assert_refused(&source.replace("35", "60"), "recursion limit");
    assert_refused("\n\n\n\n\n\n\n{{ [range] }}", "(in chat_template:8)");
}

/// What models' templates do, and a jump of every kind past a check.
#[test]
fn what_templates_do_with_values_is_as_before() {
    for (source, text) in [
        // Namespaces.
        ("{% set n = namespace(a=false) %}{% for m in messages %}{% set n.a = true %}{% endfor %}{{ n.a }}", "True"),
        ("{% set n = namespace(a=0) %}{% for m in messages[1:] %}{% set n.a = n.a + 1 %}{% endfor %}{{ n.a }}", "2"),
        (
            "{% set n = namespace(a='') %}{% for m in messages %}{% set n.a = n.a ~ m.role[0] %}{% endfor %}{{ n.a }}",
            "sua",
        ),
        (
            "{% set n = namespace(a=[]) %}{% for m in messages %}{% set n.a = n.a + [{'r': m.role}] %}{% endfor %}\
            {{ n.a | map(attribute='r') | join(',') }}{{ n.a[-1] }}",
            "system,user,assistant{'r': 'assistant'}",
        ),
        ("{% set n = namespace() %}{% set n.a = messages[1:] %}{{ n.a[0].content }}{{ n.b is defined }}", "HiFalse"),
        (
            "{% macro f(n, m) %}{% set n.a = m %}{% endmacro %}{% set n = namespace() %}{{ f(n, m=[1]) }}{{ n.a }}",
            "[1]",
        ),
        // Loops.
        (
            "{% for m in messages[::-1] if m.role != 'user' %}{{ loop.index }}{{ m.role }}{% else %}none{% endfor %}",
            "1assistant2system",
        ),
        ("{% for m in messages if m.role == 'tool' %}{{ m }}{% else %}{{ [1] + [2] }}{% endfor %}", "[1, 2]"),
        ("{% for x in [1, [2, [3]]] recursive %}{{ loop(x) if x is iterable else x }};{% endfor %}", "1;2;3;;;"),
        (
            "{% for x in [1, [2, [3]]] recursive %}\
            {% if x is iterable %}({{ loop(x) }}){% else %}{{ x }}{% endif %}{% endfor %}",
            "1(2(3))",
        ),
        (
            "{% for k, v in {'b': {'c': [1]}, 'a': 0} | items %}{{ k }}{{ v | tojson }};{% endfor %}",
            "a0;b{\"c\": [1]};",
        ),
        (
            "{% for x in [1, 1, 2] %}{{ loop.changed(x) }}{{ loop.changed(x, [x]) }}{% endfor %}",
            "TrueTrueTrueTrueTrueTrue",
        ),
        ("{% for x in [1, 1, 2] %}{{ loop.changed(x, [x]) }}{% endfor %}", "TrueFalseTrue"),
        // Macros.
        (
            "{% macro f(x, y=[1] + [2], z=0) %}{{ x }}{{ y }}{{ z }};{% endmacro %}\
            {{ f(0) }}{{ f(0, z=[3]) }}{{ f(*[1, 2]) }}",
            "0[1, 2]0;0[1, 2][3];120;",
        ),
        ("{% macro f(x) %}<{{ caller([x] * 2) }}>{% endmacro %}{% call(l) f(1) %}{{ l }}{% endcall %}", "<[1, 1]>"),
        // Conditions.
        (
            "{% set e, l = [], [1] %}{{ (l or e) + l }}{{ (e and l) + l }}{{ 'a' if e else ([3] if l else e) }}",
            "[1, 1][1][3]",
        ),
        (
            "{{ 1 < messages | length <= 3 }}{{ 3 < messages | length < 9 }}{{ [1] == [1] }}{{ 'a' in ['a'] }}",
            "TrueFalseTrueTrue",
        ),
        ("{% if [] %}a{% elif [1] + [] %}b{% elif [2] %}c{% else %}d{% endif %}", "b"),
        // Lists and texts.
        (
            "{% set a, b = messages[0].role, [2] %}{{ a }}{{ b }}{{ (1, 2) + (3,) }}{{ 'ab' * 2 }}{{ 'abc'[1:] }}",
            "system[2](1, 2, 3)ababbc",
        ),
        (
            "{% set t %}{{ [1] }}{% endset %}{{ t }}{{ range(3) }}{{ 'a b' | split }}{{ [2, 1] | sort }}",
            "[1][0, 1, 2]['a', 'b'][1, 2]",
        ),
    ] {
        assert_eq!(rendered(source).as_deref(), Ok(text), "{source}");
    }
}
